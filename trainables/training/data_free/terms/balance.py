"""Images of all classes."""

from __future__ import annotations

from torch import Tensor

from trainables.training.data_free.terms.base import Look, Term


class Balance(Term):
    """Minus the entropy of the teacher's mean probabilities over the batch, in nats, so that classes spread (Chen et al.
    2019, equation 5)."""

    def __call__(self, look: Look) -> Tensor:
        mean = look.teacher_logits.softmax(1).mean(0)
        # A class that has underflowed to 0 adds 0 and would have a gradient of infinity.
        return (mean * mean.clamp_min(1e-12).log()).sum()
