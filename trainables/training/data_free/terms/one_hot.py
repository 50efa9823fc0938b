"""Loss term for images whose class the teacher predicts with confidence."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from trainables.training.data_free.terms.base import Look, Term, TermSetup


class OneHot(Term):
    """Cross-entropy of the teacher with a wanted class, mean over the batch, in nats (Chen et al. 2019, equation 3).

    As ``wanted_class`` says, the wanted class is the teacher's own prediction, as in that paper, or a class drawn for each
    image.
    """

    def __init__(self, setup: TermSetup) -> None:
        super().__init__(setup)
        self._own = setup.config.wanted_class == "own"

    def __call__(self, look: Look) -> Tensor:
        return F.cross_entropy(look.teacher_logits, look.teacher_logits.argmax(1) if self._own else look.wanted)
