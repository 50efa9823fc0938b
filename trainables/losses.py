"""The losses of the loop (section 2.2). Conventions matter here, so each function names its own.

KL divergence and attention weight belong together: the published code divides the KL by batch *and* classes and weighs
attention transfer by 250. Dividing by the batch alone, the usual choice elsewhere, would weaken attention tenfold.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    """Log-softmax of ``logits / temperature`` over the classes; shapes (batch, classes) in and out."""
    return F.log_softmax(logits / temperature, dim=1)


def kl_divergence(student_log_probabilities: Tensor, teacher_log_probabilities: Tensor) -> Tensor:
    """Forward KL(teacher || student), mean over batch and classes, no T^2 factor; a scalar >= 0.

    Both arguments are (batch, classes). The teacher's side is given as logarithms because the form with probabilities
    has a NaN gradient where one of them underflows to 0; the values are equal.
    """
    # The mean is spelled out: torch has announced to redefine kl_div's reduction="mean".
    return F.kl_div(student_log_probabilities, teacher_log_probabilities, reduction="none", log_target=True).mean()


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
