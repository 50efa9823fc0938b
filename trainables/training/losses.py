"""Losses of training (sections 2.2 and 3.2). Each function states its own reduction and factors.

The reduction of the KL divergence and the attention weight belong together: the published code divides the KL by batch
*and* classes and multiplies attention transfer by 250. Dividing the KL by the batch alone, the usual choice elsewhere,
would make attention transfer weigh a tenth as much with 10 classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config.divergences import DIVERGENCES
from trainables.errors import DivergenceError
from trainables.seeding import seeded, stream

Reduction = Literal["mean", "batchmean"]


def log_probabilities(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return the log-softmax of ``logits / temperature`` over the classes; shapes (batch, classes) in and out."""
    return F.log_softmax(logits / temperature, dim=1)


@dataclass(frozen=True)
class Divergence:
    """Divergence between a student's and a teacher's outputs."""

    terms: Callable[[Tensor, Tensor], Tensor]
    """Function of the outputs of student and teacher, both (batch, classes), that returns the contribution of each output,
    (batch, classes). Outputs are log-probabilities, since the gradient of formulas with probabilities is NaN where a
    probability underflows to 0."""

    of_logits: bool = False
    """Whether the divergence compares logits, without temperature, instead of log-probabilities."""

    def outputs(self, logits: Tensor, temperature: float | Tensor) -> Tensor:
        """Return the outputs to compare, (batch, classes): log-probabilities at the temperature, or the logits."""
        return logits if self.of_logits else log_probabilities(logits, temperature)

    def masked(self, mask: Tensor) -> Divergence:
        """Return a divergence in which images outside a mask (batch,) of 0 and 1 contribute 0."""
        return Divergence(lambda student, teacher: self.terms(student, teacher) * mask[:, None], self.of_logits)

    def __call__(self, student: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the divergence, a scalar >= 0, without a temperature factor.

        Args:
            student: ``outputs`` of the student, (batch, classes).
            teacher: ``outputs`` of the teacher, (batch, classes).
            reduction: ``mean`` is the mean over batch and classes, ``batchmean`` the sum over classes and mean over the
                batch. Both are written out here, since torch has announced that its ``mean`` will change.
        """
        terms = self.terms(student, teacher)
        return terms.mean() if reduction == "mean" else terms.sum() / len(terms)


def find_divergence(name: str) -> Divergence:
    """Return the divergence of that name, from this project, an installed package or a user's file.

    Raises:
        ValueError: there is no divergence of that name.
    """
    part = DIVERGENCES.load(name)
    return part if isinstance(part, Divergence) else Divergence(part)


_TRIED_IMAGES = 3


def check_divergence(name: str, *, num_classes: int, role: Literal["student", "generator"]) -> None:
    """Try out a divergence from outside this project, before trials start that would fail or learn nothing.

    Args:
        name: Name of the divergence in a config.
        num_classes: Number of classes of the outputs.
        role: Network that is trained with the divergence. The student's gradient comes through its own outputs, the
            generator's through both networks' outputs.

    Raises:
        DivergenceError: the divergence fails, or its terms have a wrong shape, are not finite or give no gradient.
    """
    if name in DIVERGENCES.own:
        return
    shape = (_TRIED_IMAGES, num_classes)
    draws = stream(0, "only looked at")
    images, student, teacher = (torch.randn(size, generator=draws) for size in (shape, shape, shape))
    images.requires_grad_(role == "generator")
    student.requires_grad_(role == "student")
    try:
        with seeded(0, "only looked at"), torch.enable_grad():
            divergence = find_divergence(name)
            # A product, since adding the same images to both networks' logits could give gradients that cancel out.
            outputs = (divergence.outputs(logits * images, 1.0) for logits in (student, teacher))
            terms = divergence.terms(*outputs)
            wrong = _wrong_terms(terms, student if role == "student" else images, shape)
    except (Exception, SystemExit) as error:  # code from outside this project may raise anything
        raise DivergenceError(
            f"{role}_divergence: {name} fails on the outputs of {_TRIED_IMAGES} images: {error!r}"
        ) from error
    if wrong:
        raise DivergenceError(f"{role}_divergence: {name} {wrong}")


def _wrong_terms(terms: object, learns: Tensor, shape: tuple[int, int]) -> str:
    """Return a description of what is wrong with the terms of a divergence; empty if they are right."""
    if not isinstance(terms, Tensor):
        return f"returns a {type(terms).__name__}; expected is a tensor of shape {shape} for outputs of that shape"
    if terms.shape != shape:
        return (
            f"returns shape {tuple(terms.shape)} for outputs of shape {shape}; expected is the contribution of each output, "
            "in the same shape; the loop takes the mean"
        )
    if not terms.isfinite().all():
        return "returns values that are NaN or infinite for ordinary outputs"
    gradient = None
    if terms.requires_grad:
        (gradient,) = torch.autograd.grad(terms.sum(), learns, allow_unused=True)
    if gradient is None or not gradient.any():
        return (
            "gives no gradient, so no network would learn: compute the terms from the arguments without detaching them"
        )
    return "" if gradient.isfinite().all() else "has a gradient that is NaN or infinite for ordinary outputs"


def kl_divergence(student_log_probabilities: Tensor, teacher_log_probabilities: Tensor) -> Tensor:
    """Return the forward KL(teacher || student), mean over batch and classes, no T^2 factor; a scalar >= 0."""
    return _kl(teacher_log_probabilities, student_log_probabilities).mean()


def _kl(target: Tensor, approximation: Tensor) -> Tensor:
    return F.kl_div(approximation, target, reduction="none", log_target=True)


def _jensen_shannon(student: Tensor, teacher: Tensor) -> Tensor:
    mixture = torch.logaddexp(student, teacher) - math.log(2)
    return (_kl(teacher, mixture) + _kl(student, mixture)) / 2


FORWARD_KL = Divergence(lambda student, teacher: _kl(teacher, student))
"""KL(teacher || student)."""

REVERSE_KL = Divergence(_kl)
"""KL(student || teacher)."""

JENSEN_SHANNON = Divergence(_jensen_shannon)
"""Mean of the KL divergences of teacher and student to the mean of their probabilities."""

L1 = Divergence(lambda student, teacher: (student - teacher).abs(), of_logits=True)
"""Absolute difference of the logits."""


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of softmax(logits), mean over the batch, in nats; a scalar in [0, log classes]."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()


def mean_distance(features: Tensor) -> Tensor:
    """Return the mean Euclidean distance between the rows of (batch, width), each pair counted once; a scalar >= 0."""
    return F.pdist(features).mean()


def attention_map(activation: Tensor) -> Tensor:
    """Return the channel mean of the squared activation, flattened and L2-normalised for each image.

    From (batch, channels, height, width) to (batch, height * width); each row has norm 1 (eps 1e-12), whatever the
    activation's scale (Zagoruyko & Komodakis, 2017).
    """
    return F.normalize(activation.pow(2).mean(1).flatten(1))


def attention_transfer(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Return the attention transfer loss of student and teacher maps, each (batch, positions); a scalar >= 0.

    The sum over layers of the mean, over batch and positions, of the squared difference of the maps, as in the published
    code. Equation 1 of the paper has the norm of the difference instead.

    Raises:
        ValueError: student and teacher have different numbers of maps.
    """
    if len(student_maps) != len(teacher_maps):
        raise ValueError(f"attention transfer between {len(student_maps)} student and {len(teacher_maps)} teacher maps")
    terms = [(student - teacher).pow(2).mean() for student, teacher in zip(student_maps, teacher_maps, strict=True)]
    return sum(terms[1:], terms[0])
