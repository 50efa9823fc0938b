"""Loss term for images spread evenly over the classes."""

from __future__ import annotations

from torch import Tensor

from trainables.training.data_free.terms.base import Look, Term


class Balance(Term):
    """Minus the entropy of the teacher's probabilities averaged over the batch, in nats (Chen et al. 2019, equation 5)."""

    def __call__(self, look: Look) -> Tensor:
        mean = look.teacher_logits.softmax(1).mean(0)
        # A class whose probability underflows to 0 adds 0, but without the clamp its gradient would be infinite.
        return (mean * mean.clamp_min(1e-12).log()).sum()
