"""What pools keep and give back, how views are made, and what gates let pass."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from trainables.config.data_free.pieces import GATES, POOLS
from trainables.config.datasets import find_normalisation
from trainables.storage import checkpoint
from trainables.storage.checkpoint import CheckpointStore, Piece, copy_state
from trainables.storage.filesystems.local import LocalFilesystem
from trainables.storage.object_store import ObjectStore
from trainables.training.data_free.gates import Judged
from trainables.training.data_free.pools.pool import Pool
from trainables.training.data_free.views import PLAIN, Viewer, draw_views, plain_views
from trainables.training.schedules import constant, cosine, milestones, one_cycle


def make_pool(policy: str, size: int = 5, precision: str = "float32") -> Pool:
    return Pool(POOLS.load(policy)(), size=size, precision=precision, dtype=torch.float32)


def add(pool: Pool, values: list[float], stream: torch.Generator) -> None:
    """Add images of one grey each, which their only view's logits repeat."""
    greys = torch.tensor(values)
    pixels = greys.view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    pool.add(pixels, plain_views(len(values))[:, None], greys.view(-1, 1, 1).expand(-1, 1, 3), [], stream)


def held(pool: Pool) -> set[float]:
    """All values that many draws find; each must bring its own logits."""
    drawn = pool.draw(500, torch.Generator().manual_seed(1))
    assert drawn.logits is not None
    assert torch.equal(drawn.logits[:, 0], drawn.pixels[:, 0, 0, 0])
    return set(drawn.pixels[:, 0, 0, 0].tolist())


@pytest.mark.parametrize(("policy", "expected"), [("all", set(range(8))), ("newest", {3, 4, 5, 6, 7})])
def test_a_pool_keeps_what_its_policy_says(policy: str, expected: set[int]) -> None:
    pool, stream = make_pool(policy), torch.Generator().manual_seed(0)
    for start in (0, 4):
        add(pool, [float(value) for value in range(start, start + 4)], stream)
    assert held(pool) == expected
    assert len(pool) == len(expected)


def test_a_reservoir_holds_each_image_with_the_same_probability() -> None:
    counts, stream = torch.zeros(12), torch.Generator().manual_seed(0)
    trials = 600
    for _ in range(trials):
        pool = make_pool("reservoir", size=3)
        for start in (0, 4, 8):
            add(pool, [float(value) for value in range(start, start + 4)], stream)
        assert len(pool) == 3
        for value in held(pool):
            counts[int(value)] += 1
    # 12 images for 3 places: each in a quarter of the trials, give or take 4.5 standard deviations.
    assert (counts - trials / 4).abs().max() < 4.5 * (trials * 3 / 16) ** 0.5


def test_a_pool_forgets_pieces_of_which_nothing_is_held_and_keeps_the_others_as_they_are() -> None:
    pool, stream = make_pool("newest", size=4), torch.Generator().manual_seed(0)
    names = []
    for start in (0, 3, 6, 9):
        add(pool, [float(value) for value in range(start, start + 3)], stream)
        names.append([piece.name for piece in pool.state_dict()["pieces"].values()])
    assert [len(each) for each in names] == [1, 2, 2, 2]
    assert names[1][1] == names[2][0]


def test_pixels_of_eight_bits_are_the_nearest_of_256_and_clipped() -> None:
    pool, stream = make_pool("all", precision="uint8"), torch.Generator()
    pool.add(torch.tensor([[[[0.5, 1.5, -1.0, 0.001]]]]), plain_views(1)[:, :0, None], torch.empty(1, 0, 3), [], stream)
    pixels = pool.draw(1, stream).pixels.flatten()
    assert pixels.tolist() == pytest.approx([128 / 255, 1.0, 0.0, 0.0])


def test_views_are_crops_beside_which_images_are_black_and_can_be_undone() -> None:
    normalisation = find_normalisation("cifar10")
    viewer = Viewer(normalisation, 3, device=torch.device("cpu"), dtype=torch.float32)
    images = viewer.normalised(torch.rand(4, 3, 8, 8))
    assert torch.allclose(viewer(images, plain_views(4)), images, atol=1e-6)
    mirrored = viewer(images, torch.tensor([[4, 4, 1]] * 4))
    assert torch.allclose(mirrored, images.flip(3), atol=1e-6)
    moved = viewer.pixels(viewer(images, torch.tensor([[0, 4, 0]] * 4)))
    assert torch.allclose(moved[:, :, :4], torch.zeros(4, 3, 4, 8), atol=1e-6)
    assert torch.allclose(moved[:, :, 4:], viewer.pixels(images)[:, :, :4], atol=1e-6)
    views = draw_views(2000, torch.Generator().manual_seed(0))
    assert views.amin(0).tolist() == [0, 0, 0]
    assert views.amax(0).tolist() == [8, 8, 1]
    assert plain_views(1).tolist() == [list(PLAIN)]


@pytest.mark.parametrize(("gate", "expected"), [("confident", [True, False]), ("disagreeing", [False, True])])
def test_gates(gate: str, expected: list[bool]) -> None:
    judged = Judged(
        images=torch.zeros(2, 1, 2, 2),
        teacher_logits=torch.tensor([[5.0, 0.0], [0.1, 0.0]]),
        student_logits=torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        threshold=0.9,
    )
    assert GATES.load(gate)(judged).tolist() == expected


def test_schedules_are_at_their_places() -> None:
    assert [constant(2.0, step, 10) for step in (0, 9)] == [2.0, 2.0]
    assert [milestones(1.0, step, 10) for step in (0, 5, 6, 8, 9)] == pytest.approx([1, 1, 0.1, 0.01, 0.001])
    rates = [one_cycle(1.0, step, 100) for step in range(100)]
    assert rates[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert rates[19] == 1
    assert all(later < earlier for earlier, later in pairwise(rates[19:]))
    assert 0 < rates[-1] < 1e-3
    assert cosine(1.0, 0, 100) == 1


class _CountedWrites(LocalFilesystem):
    """Notes what is written."""

    written: ClassVar[list[str]] = []

    def write(self, path: str, data: bytes) -> None:
        self.written.append(path)
        super().write(path, data)


def test_pieces_are_written_once_and_removed_when_no_checkpoint_names_them(tmp_path: Path) -> None:
    _CountedWrites.written.clear()
    store = ObjectStore(filesystem=_CountedWrites(), root=str(tmp_path))
    checkpoints = CheckpointStore(store)

    def state(*names: str) -> dict[str, object]:
        return {"config": {}, "pool": {name: Piece(name=name, tensors={"x": torch.tensor([1.0])}) for name in names}}

    for done, names in enumerate([("a",), ("a", "b"), ("b", "c"), ("c",)]):
        checkpoints.save("t0", done, copy_state(state(*names)))
    written = [path.rpartition("/")[2] for path in _CountedWrites.written if "/pieces/t0/" in path]
    assert written == [
        "a.safetensors",
        "b.safetensors",
        "c.safetensors",
    ]
    # Of the two checkpoints that are kept the older one still names b.
    assert store.keys("pieces/t0") == ["pieces/t0/b.safetensors", "pieces/t0/c.safetensors"]
    assert checkpoints.trial_ids() == {"t0"}  # by which a lost study is made anew
    newest = checkpoints.load_newest("t0", warn=pytest.fail)
    assert newest is not None
    assert torch.equal(newest["pool"]["c"].tensors["x"], torch.tensor([1.0]))


def test_a_checkpoint_whose_piece_is_damaged_or_gone_gives_way_to_the_one_before(tmp_path: Path) -> None:
    store = ObjectStore(filesystem=LocalFilesystem(), root=str(tmp_path))
    checkpoints = CheckpointStore(store)
    for done, names in enumerate([(), ("a",)]):
        pool = {name: Piece(name=name, tensors={"x": torch.tensor([1.0])}) for name in names}
        checkpoints.save("t0", done, copy_state({"config": {}, "number": done, "pool": pool}))
    store.write("pieces/t0/a.safetensors", b"damaged")
    warnings: list[str] = []
    newest = checkpoints.load_newest("t0", warn=warnings.append)
    assert newest is not None
    assert newest["number"] == 0
    assert "cannot be read" in warnings[0]
    assert store.keys("pieces/t0") == []


def test_a_dumped_state_is_whole() -> None:
    state = {"config": {}, "pool": {"a": Piece(name="a", tensors={"x": torch.tensor([2.0])})}}
    again = checkpoint.parse(checkpoint.dump(state), origin="test")
    assert again["pool"]["a"]["x"] == 2
