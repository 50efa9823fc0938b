"""Loss term for images with large features in the teacher."""

from __future__ import annotations

from torch import Tensor

from trainables.training.data_free.terms.base import Look, Term


class Activation(Term):
    """Minus the mean absolute value of the input of the teacher's last linear layer (Chen et al. 2019, equation 4).

    Real images make this input large.
    """

    needs_features = True

    def __call__(self, look: Look) -> Tensor:
        assert look.teacher_features is not None
        return -look.teacher_features.to(look.images.dtype).abs().mean()
