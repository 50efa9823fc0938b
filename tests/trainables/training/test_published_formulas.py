"""The losses and a whole pseudo batch against the authors' formulas, as their code has them, in float64.

The yardstick elsewhere, ``benchmarks.published_loop``, is this project's own transcription and rounds as this project
does. Here stand the formulas themselves: the KL takes the teacher's probabilities, not their logarithms, torch averages it,
and each layer's attention is weighed before it is added.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.published_loop import PublishedLoop
from tests.support.tiny import make_distiller, make_splits, make_teacher, tiny_settings
from trainables.config import ZeroShotConfig
from trainables.training.losses import attention_map, attention_transfer, kl_divergence, log_probabilities


def authors_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Forward KL, torch's default reduction: the sum over batch and classes divided by both numbers."""
    log_q, p = F.log_softmax(student_logits / temperature, dim=1), F.softmax(teacher_logits / temperature, dim=1)
    with warnings.catch_warnings(action="ignore"):  # torch says that it will mean something else one day
        mean: Tensor = F.kl_div(log_q, p)
    return mean


def authors_attention(student: Tensor, teacher: Tensor) -> Tensor:
    """Of one layer, without its weight: mean squared difference of the normalised maps."""
    ours, theirs = (authors_map(activation) for activation in (student, teacher))
    return ((ours - theirs) ** 2).mean()


def authors_map(activation: Tensor) -> Tensor:
    """Mean of the channels' squares, a row of Euclidean length 1 for each image."""
    energy = activation.square().mean(dim=1).flatten(1)
    length: Tensor = energy.norm(dim=1, keepdim=True)
    return energy / length.clamp_min(1e-12)


class AuthorsFormulas(PublishedLoop):
    """The published loop with the authors' two losses."""

    def generator_loss(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return -authors_divergence(student_logits, teacher_logits, self.config.temperature)

    def student_loss(
        self,
        student_logits: Tensor,
        student_activations: list[Tensor],
        teacher_logits: Tensor,
        teacher_activations: list[Tensor],
    ) -> Tensor:
        loss = authors_divergence(student_logits, teacher_logits, self.config.temperature)
        if self.config.attention_weight > 0:
            for student, teacher in zip(student_activations, teacher_activations, strict=True):
                loss = loss + self.config.attention_weight * authors_attention(student, teacher)
        return loss


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def agree(ours: Tensor, theirs: Tensor, leaves: list[Tensor]) -> None:
    """Values and gradients with respect to all leaves."""
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
    for mine, published in zip(*(torch.autograd.grad(loss, leaves) for loss in (ours, theirs)), strict=True):
        torch.testing.assert_close(mine, published, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_divergence_and_its_gradients_are_the_authors(temperature: float, scale: float) -> None:
    leaves = [(scale * normal(16, 10, seed=seed)).requires_grad_() for seed in (1, 2)]
    student, teacher = leaves
    ours = kl_divergence(log_probabilities(student, temperature), log_probabilities(teacher, temperature))
    agree(ours, authors_divergence(student, teacher, temperature), leaves)


def test_attention_transfer_and_its_gradients_are_the_authors() -> None:
    sizes = [(4, 32), (8, 16), (16, 8)]
    student, teacher = (
        [normal(6, channels, size, size, seed=seed + channels).requires_grad_() for channels, size in sizes]
        for seed in (1, 2)
    )
    ours = 250 * attention_transfer([attention_map(a) for a in student], [attention_map(a) for a in teacher])
    theirs = torch.zeros((), dtype=torch.float64)
    for one, other in zip(student, teacher, strict=True):
        theirs = theirs + 250 * authors_attention(one, other)
    agree(ours, theirs, student)


WIDE: dict[str, Any] = {"dataset": "cifar10", "teacher": "wrn-10-2", "student": "wrn-10-1", "student_steps": 10}


@pytest.mark.parametrize("numerics", ["exact", "fast"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"generator_steps": 3, "temperature": 3.0}, {"attention_weight": 0.0}, WIDE],
    ids=["lenet", "many generator steps", "no attention", "wide resnets with BatchNorm"],
)
def test_a_pseudo_batch_is_the_authors(changes: dict[str, Any], numerics: str) -> None:
    config = ZeroShotConfig.model_validate(tiny_settings(**changes))
    teacher, splits = make_teacher(config.teacher, dataset=config.dataset), make_splits(config.dataset)
    authors = AuthorsFormulas.beginning(config, teacher, splits, torch.float64)
    ours = make_distiller(dtype=torch.float64, numerics=numerics, **changes)
    authors.pseudo_batch()
    ours.train(1)
    for mine, published in ((ours.student, authors.student), (ours.generator, authors.generator)):
        for name, value in published.state_dict().items():
            found = mine.state_dict()[name].double()
            assert torch.allclose(found, value.double(), rtol=1e-11, atol=1e-11), name
