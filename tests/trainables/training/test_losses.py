from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.training.losses import (
    FORWARD_KL,
    L1,
    REVERSE_KL,
    attention_map,
    attention_transfer,
    entropy,
    find_divergence,
    kl_divergence,
    log_probabilities,
    mean_distance,
)

GRID = torch.arange(2).view(2, 1) * 10 + torch.arange(10).view(1, 10) + 1.0


def kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    return kl_divergence(log_probabilities(student, temperature), log_probabilities(teacher, temperature))


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.07460477), (4.0, 0.00657352)])
def test_kl_divergence_is_the_mean_over_batch_and_classes_without_a_temperature_factor(
    temperature: float, expected: float
) -> None:
    student, teacher = torch.sin(GRID.double()), 2 * torch.cos(GRID.double())
    assert kl(student, teacher, temperature).item() == pytest.approx(expected, abs=1e-8)


def test_kl_divergence_by_hand() -> None:
    # Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2, over 1 image and 2 classes.
    teacher, student = torch.log(torch.tensor([[0.75, 0.25]])), torch.log(torch.tensor([[0.5, 0.5]]))
    expected = (0.75 * torch.log(torch.tensor(1.5)) + 0.25 * torch.log(torch.tensor(0.5))) / 2
    assert kl_divergence(student, teacher).item() == pytest.approx(expected.item(), rel=1e-6)


@given(st.integers(0, 2**32), st.floats(0.1, 20))
def test_kl_divergence_is_positive_zero_for_equals_and_forward(seed: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    assert kl(a, a, temperature).item() == pytest.approx(0, abs=1e-15)
    assert kl(a, b, temperature).item() > 0
    batch_mean = torch.nn.functional.kl_div(
        torch.log_softmax(a / temperature, 1), torch.softmax(b / temperature, 1), reduction="batchmean"
    )
    assert kl(a, b, temperature).item() * 5 == pytest.approx(batch_mean.item(), rel=1e-9)


def test_gradient_stays_finite_where_a_teacher_probability_underflows() -> None:
    teacher = torch.tensor([[200.0, 0.0]], requires_grad=True)
    student = torch.tensor([[0.0, 1.0]], requires_grad=True)
    assert torch.softmax(teacher, 1)[0, 1] == 0
    kl(student, teacher, 1.0).backward()
    assert teacher.grad is not None and teacher.grad.isfinite().all()
    assert student.grad is not None and student.grad.isfinite().all()


def test_attention_transfer_golden_value() -> None:
    student = torch.sin(0.1 * torch.arange(2 * 3 * 16, dtype=torch.float64)).view(2, 3, 4, 4)
    teacher = torch.cos(0.1 * torch.arange(2 * 5 * 16, dtype=torch.float64)).view(2, 5, 4, 4)
    value = attention_transfer([attention_map(student)], [attention_map(teacher)])
    assert value.item() == pytest.approx(0.0084808035, abs=1e-10)
    assert 250 * value.item() == pytest.approx(2.12020087, abs=1e-8)


@given(st.floats(1e-2, 1e2), st.integers(1, 4))
def test_attention_maps_are_blind_to_scale_and_to_the_number_of_equal_channels(scale: float, copies: int) -> None:
    activation = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = attention_map(activation)
    assert torch.allclose(attention_map(scale * activation.repeat(1, copies, 1, 1)), expected, atol=1e-9)
    assert torch.allclose(expected.norm(dim=1), torch.ones(2, dtype=torch.float64))


def test_attention_transfer_sums_over_layers_and_refuses_unequal_numbers_of_them() -> None:
    maps = [attention_map(torch.randn(2, 3, 4, 4)) for _ in range(4)]
    both = attention_transfer(maps[:2], maps[2:])
    single = attention_transfer(maps[:1], maps[2:3]) + attention_transfer(maps[1:2], maps[3:])
    assert both.item() == pytest.approx(single.item())
    with pytest.raises(ValueError, match="2 student and 1 teacher"):
        attention_transfer(maps[:2], maps[2:3])


def beliefs_of(seed: int, shape: tuple[int, int] = (5, 7)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.log_softmax(1), teacher.log_softmax(1)


def test_golden_values_of_the_published_loss_by_every_way_to_it() -> None:
    grid = torch.arange(2)[:, None] * 10 + torch.arange(10) + 1
    student, teacher = torch.sin(grid.double()), 2 * torch.cos(grid.double())
    for temperature, expected in ((1.0, 0.07460477), (4.0, 0.00657352)):
        ours, theirs = (FORWARD_KL.outputs(logits, temperature) for logits in (student, teacher))
        assert FORWARD_KL(ours, theirs).item() == pytest.approx(expected, abs=5e-9)
        assert FORWARD_KL(ours, theirs, "batchmean").item() == pytest.approx(10 * expected, abs=5e-8)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jensen_shannon", "l1"])
def test_divergences_by_their_definition(name: str) -> None:
    divergence = find_divergence(name)
    student, teacher = beliefs_of(1)
    s, t = student.exp(), teacher.exp()
    mixture = ((s + t) / 2).log()
    terms = {
        "forward_kl": t * (teacher - student),
        "reverse_kl": s * (student - teacher),
        "jensen_shannon": (t * (teacher - mixture) + s * (student - mixture)) / 2,
        "l1": (student - teacher).abs(),
    }[name]
    assert divergence(student, teacher).item() == pytest.approx(terms.sum().item() / 35, rel=1e-12)
    assert divergence(student, teacher, "batchmean").item() == pytest.approx(terms.sum().item() / 5, rel=1e-12)
    assert divergence(student, student).item() == pytest.approx(0, abs=1e-15)
    assert divergence(student, teacher).item() > 0


def test_which_divergences_are_symmetric() -> None:
    student, teacher = beliefs_of(2)
    kinds: tuple[tuple[str, bool], ...] = (
        ("forward_kl", False),
        ("reverse_kl", False),
        ("jensen_shannon", True),
        ("l1", True),
    )
    for name, symmetric in kinds:
        divergence = find_divergence(name)
        there, back = divergence(student, teacher), divergence(teacher, student)
        assert torch.isclose(there, back).item() is symmetric
    assert torch.equal(REVERSE_KL(student, teacher), FORWARD_KL(teacher, student))


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jensen_shannon"])
def test_gradients_stay_finite_where_a_probability_underflows(name: str) -> None:
    divergence = find_divergence(name)
    student = torch.tensor([[0.0, 1.0, 2.0]], requires_grad=True)
    teacher = torch.tensor([[300.0, 0.0, -300.0]], requires_grad=True)
    divergence(divergence.outputs(student, 1.0), divergence.outputs(teacher, 1.0)).backward()
    assert student.grad is not None and student.grad.isfinite().all()
    assert teacher.grad is not None and teacher.grad.isfinite().all()


def test_l1_compares_logits_as_they_are() -> None:
    logits = torch.tensor([[1.0, 5.0]])
    assert L1.outputs(logits, 4.0) is logits


def test_entropy_and_distance_by_hand() -> None:
    assert entropy(torch.zeros(3, 10)).item() == pytest.approx(math.log(10))
    assert entropy(torch.tensor([[1000.0, 0.0]])).item() == 0.0
    assert mean_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])).item() == pytest.approx(10 / 3)
