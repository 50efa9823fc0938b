"""Loss term for smooth images."""

from __future__ import annotations

from torch import Tensor

from trainables.training.data_free.terms.base import Look, Term


class TotalVariation(Term):
    """Mean absolute difference of neighbouring normalised pixels, summed over four directions (Yin et al. 2020).

    The directions are vertical, horizontal and both diagonals, as in the authors' code for CIFAR-10.
    """

    def __call__(self, look: Look) -> Tensor:
        images = look.images
        return (
            (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
            + (images[..., 1:] - images[..., :-1]).abs().mean()
            + (images[..., 1:, 1:] - images[..., :-1, :-1]).abs().mean()
            + (images[..., 1:, :-1] - images[..., :-1, 1:]).abs().mean()
        )
