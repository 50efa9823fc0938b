"""The losses (sections 2.2 and 3.2). Conventions matter here, so each function names its own.

KL divergence and attention weight belong together: the published code divides the KL by batch *and* classes and weighs
attention transfer by 250. Dividing by the batch alone, the usual choice elsewhere, would weaken attention tenfold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config import Divergence

Reduction = Literal["mean", "batchmean"]


def log_probabilities(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Log-softmax of ``logits / temperature`` over the classes; shapes (batch, classes) in and out."""
    return F.log_softmax(logits / temperature, dim=1)


def beliefs(logits: Tensor, divergence: Divergence, temperature: float | Tensor) -> Tensor:
    """What a divergence compares, (batch, classes): log-probabilities at the temperature, or for ``l1`` the logits."""
    return logits if divergence == "l1" else log_probabilities(logits, temperature)


def divergence(name: Divergence, student: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    """How far the student's beliefs are from the teacher's; a scalar >= 0, without a temperature factor.

    Args:
        name: ``forward_kl`` is KL(teacher || student), ``reverse_kl`` KL(student || teacher), ``jensen_shannon`` the mean
            of both to their mixture, ``l1`` the absolute difference.
        student: ``beliefs`` of the student, (batch, classes).
        teacher: Those of the teacher. Both sides are logarithms because the forms with probabilities have a NaN gradient
            where one of them underflows to 0; the values are equal.
        reduction: ``mean`` over batch and classes, ``batchmean`` summed over the classes. The mean is spelled out: torch
            has announced to redefine its own.
    """
    terms = _TERMS[name](student, teacher)
    return terms.mean() if reduction == "mean" else terms.sum() / len(terms)


def kl_divergence(student_log_probabilities: Tensor, teacher_log_probabilities: Tensor) -> Tensor:
    """Forward KL(teacher || student), mean over batch and classes, no T^2 factor; a scalar >= 0."""
    return _kl(teacher_log_probabilities, student_log_probabilities).mean()


def _kl(target: Tensor, approximation: Tensor) -> Tensor:
    return F.kl_div(approximation, target, reduction="none", log_target=True)


def _jensen_shannon(student: Tensor, teacher: Tensor) -> Tensor:
    mixture = torch.logaddexp(student, teacher) - math.log(2)
    return (_kl(teacher, mixture) + _kl(student, mixture)) / 2


_TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "forward_kl": lambda student, teacher: _kl(teacher, student),
    "reverse_kl": _kl,
    "jensen_shannon": _jensen_shannon,
    "l1": lambda student, teacher: (student - teacher).abs(),
}


def entropy(logits: Tensor) -> Tensor:
    """Entropy of softmax(logits), mean over the batch, in nats; a scalar in [0, log classes]."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()


def mean_distance(features: Tensor) -> Tensor:
    """Mean Euclidean distance between the rows of (batch, width), each pair counted once; a scalar >= 0."""
    return F.pdist(features).mean()


def attention_map(activation: Tensor) -> Tensor:
    """Channel mean of the squared activation, flattened and L2-normalised per sample.

    (batch, channels, height, width) to (batch, height * width), each row of norm 1 (eps 1e-12), blind to the
    activation's scale (Zagoruyko & Komodakis, 2017).
    """
    return F.normalize(activation.pow(2).mean(1).flatten(1))


def attention_transfer(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Sum over layers of the mean, over batch and positions, of the squared difference of attention maps.

    The published code does this; equation 1 of the paper writes the norm of the difference instead.

    Raises:
        ValueError: the two networks have different numbers of layers (the message counts both).
    """
    if len(student_maps) != len(teacher_maps):
        raise ValueError(f"attention transfer between {len(student_maps)} student and {len(teacher_maps)} teacher maps")
    terms = [(student - teacher).pow(2).mean() for student, teacher in zip(student_maps, teacher_maps, strict=True)]
    return sum(terms[1:], terms[0])
