"""Adversarial loss term for images on which student and teacher disagree, as in belief matching."""

from __future__ import annotations

from torch import Tensor

from trainables.training.data_free.terms.base import Look, Term, TermSetup


class Adversarial(Term):
    """Minus the divergence between teacher and student (``generator_divergence``), at ``adversarial_temperature``.

    With ``adversarial_mask=agreeing`` only images for which both networks predict the same class contribute; their sum is
    still divided by the number of all images (Fang et al. 2022, equation 4).
    """

    needs_student = True

    def __init__(self, setup: TermSetup) -> None:
        super().__init__(setup)
        self._masked = setup.config.adversarial_mask == "agreeing"
        self._loss = setup.adversarial_loss

    def __call__(self, look: Look) -> Tensor:
        assert look.student_logits is not None
        student, teacher = look.student_logits, look.teacher_logits
        mask = (student.argmax(1) == teacher.argmax(1)).to(teacher.dtype) if self._masked else None
        return -self._loss(student, teacher, mask)
