"""Smooth images."""

from __future__ import annotations

from torch import Tensor

from trainables.training.data_free.terms.base import Look, Term


class TotalVariation(Term):
    """Sum of the mean absolute differences of normalised pixels to their neighbours below, beside and on both diagonals (Yin
    et al. 2020, as their code has it for CIFAR-10)."""

    def __call__(self, look: Look) -> Tensor:
        images = look.images
        return (
            (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
            + (images[..., 1:] - images[..., :-1]).abs().mean()
            + (images[..., 1:, 1:] - images[..., :-1, :-1]).abs().mean()
            + (images[..., 1:, :-1] - images[..., :-1, 1:]).abs().mean()
        )
