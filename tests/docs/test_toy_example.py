from __future__ import annotations

import re
import shlex
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from docs import toy_example
from docs.toy_example import BeliefMatching, accuracy, butterfly, main, regions, train_teacher
from trainables.seeding import stream

PAGE = Path(toy_example.__file__).with_name("toy.md")


@pytest.fixture(scope="module")
def teacher() -> nn.Sequential:
    points, labels = butterfly(1000, stream(0, "training data"))
    return train_teacher(points, labels, seed=0, epochs=6)


@pytest.fixture
def matching(teacher: nn.Sequential) -> BeliefMatching:
    return BeliefMatching(teacher, seed=0)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return deepcopy(network.state_dict())


def unchanged(network: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_butterfly_is_balanced_mirrored_and_inside_the_square() -> None:
    points, labels = butterfly(3000, stream(0, "test data"))
    assert labels.bincount().tolist() == [1000, 1000, 1000]
    assert points.abs().max() < 3
    for label, height in enumerate((0.9, -0.95, 0.0)):
        x, y = points[labels == label].mean(0).tolist()
        assert x == pytest.approx(0, abs=0.15), "as many on the left as on the right"
        assert y == pytest.approx(height, abs=0.1)
    upper = points[labels == 0]
    upper_right = upper[upper[:, 0] > 0.5].T
    assert torch.corrcoef(upper_right)[0, 1] > 0.3, "upper wings rise outwards"


def test_the_teacher_learns_and_is_frozen(teacher: nn.Sequential) -> None:
    points, labels = butterfly(1500, stream(0, "test data"))
    assert accuracy(teacher, points, labels) > 0.9
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_divergence_is_forward_kl_meaned_over_points_and_classes(matching: BeliefMatching) -> None:
    points = matching.points().detach()
    student, teacher = (network(points).softmax(1) for network in (matching.student, matching.teacher))
    expected = (teacher * (teacher.log() - student.log())).sum() / (50 * 3)
    assert matching.divergence(points).item() == pytest.approx(expected.item(), rel=1e-4)


def test_point_steps_raise_the_divergence_and_move_the_points_alone(matching: BeliefMatching) -> None:
    points, divergence = matching.points().detach(), matching.divergence(matching.points()).item()
    student, teacher = weights(matching.student), weights(matching.teacher)
    for _ in range(20):
        matching.point_step()
    assert matching.divergence(matching.points()).item() > divergence
    assert not torch.equal(matching.points(), points)
    assert unchanged(matching.student, student)
    assert unchanged(matching.teacher, teacher)
    assert all(parameter.grad is None for parameter in matching.student.parameters())


def test_student_steps_lower_the_divergence_and_move_the_student_alone(matching: BeliefMatching) -> None:
    points, divergence = matching.points().detach(), matching.divergence(matching.points()).item()
    student, teacher = weights(matching.student), weights(matching.teacher)
    for _ in range(10):
        matching.student_step()
    assert matching.divergence(points).item() < divergence / 2
    assert torch.equal(matching.points(), points)
    assert not unchanged(matching.student, student)
    assert unchanged(matching.teacher, teacher)


def test_points_move_on_from_epoch_to_epoch_and_stay_inside(matching: BeliefMatching) -> None:
    assert (matching.points() > 0).all(), "they start in one corner"
    path = []
    for _ in range(3):
        matching.epoch()
        path.append(matching.points().detach())
        assert path[-1].abs().max() < 3
    assert not torch.equal(path[0], path[2])
    # Adam moves a free coordinate by about its rate: here 100 steps of 0.001, squashed with a slope of at most 1.5.
    assert (path[2] - path[0]).abs().max() < 0.3


def test_both_gradients_are_limited(matching: BeliefMatching, monkeypatch: pytest.MonkeyPatch) -> None:
    divergence = matching.divergence
    monkeypatch.setattr(matching, "divergence", lambda points: 1e6 * divergence(points))
    matching.point_step()
    assert matching.free_points.grad is not None
    assert matching.free_points.grad.abs().max() == 3
    matching.student_step()
    norm = torch.cat([p.grad.flatten() for p in matching.student.parameters() if p.grad is not None]).norm()
    assert norm.item() == pytest.approx(3, rel=1e-3)


def test_regions_are_the_classes_at_the_cells_seen_from_above() -> None:
    class Quadrants(nn.Module):
        def forward(self, points: Tensor) -> Tensor:
            """Class 1 at the top right, class 2 at the bottom left, class 0 elsewhere."""
            x, y = points.T
            return torch.stack([torch.zeros(len(points)), torch.minimum(x, y), torch.minimum(-x, -y)], dim=1)

    assert regions(Quadrants(), 4).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 0, 0]]


def test_the_same_seed_gives_the_same_picture_and_it_is_well_formed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(toy_example, "TEACHER_EPOCHS", 1)
    monkeypatch.setattr(toy_example, "SIDE", 40)
    monkeypatch.setattr(toy_example, "CELLS", 20)
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        main(["--epochs", "2", "--seed", str(seed), "--output", str(tmp_path / f"{name}.svg")])
    a, b, c = ((tmp_path / f"{name}.svg").read_text() for name in "abc")
    assert a == b != c

    picture = ElementTree.fromstring(a)
    svg = "{http://www.w3.org/2000/svg}"
    groups = picture.findall(f"{svg}g")
    titles = ["Teacher and test data", *(f"Student and pseudo points, epoch {epoch}" for epoch in (0, 1, 2))]
    legend = ["upper wings", "lower wings", "body", "pseudo point", "teacher's border"]
    assert [group.findtext(f"{svg}text") for group in groups] == [*titles, *legend]
    assert [len(group.findall(f"{svg}circle")) for group in groups[:4]] == [600, 50, 50, 50]
    assert re.findall(r"^ +(\d+) ", capsys.readouterr().out, flags=re.MULTILINE) == ["0", "2"] * 3


def test_the_commands_in_the_page_are_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []

    def run(epochs: int, *, seed: int) -> str:
        seen.append((epochs, seed))
        return "<svg/>"

    monkeypatch.setattr(toy_example, "run", run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for line in re.findall(r"^python .*", PAGE.read_text(), flags=re.MULTILINE):
        words = shlex.split(line, comments=True)
        assert words[1] == "docs/toy_example.py"
        main(words[2:])
    assert seen[0] == (2000, 4)
