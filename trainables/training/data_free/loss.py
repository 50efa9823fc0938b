"""The loss of a source: the sum of the terms that a trial switches on, on what the networks make of its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.networks import Network
from trainables.seeding import stream
from trainables.training.data_free.parts import Parts
from trainables.training.data_free.sources.base import Source
from trainables.training.data_free.terms.base import Look, Term, TermSetup
from trainables.training.data_free.views import draw_views
from trainables.training.data_free.work import needs_student, term_classes
from trainables.training.generator_terms import GeneratorTerms
from trainables.training.losses import find_divergence


class SourceLoss:
    """The loss of one trial's source."""

    def __init__(self, parts: Parts) -> None:
        """Make the terms ready.

        Raises:
            ValueError: a term cannot work with this teacher.
        """
        config, teacher = parts.config, parts.teacher
        self._config = config
        self._parts = parts
        self._of_source = find_divergence(config.generator_divergence)
        temperature = config.adversarial_temperature or config.temperature
        self._temperature = torch.tensor(temperature, device=parts.device, dtype=parts.dtype)
        self._asks_student = {early: needs_student(config, early=early) for early in (False, True)}
        """Whether the student looks at the images, in the warm-up and later."""
        self.terms: dict[str, Term] = {
            name: term(
                TermSetup(
                    config=config,
                    teacher=teacher,
                    adversarial_loss=self._divergence,
                    stream=stream(parts.seed, f"term {name}"),
                    device=parts.device,
                    dtype=parts.dtype,
                )
            )
            for name, term in term_classes(config).items()
        }
        for name, term in self.terms.items():
            if term.needs_features and not teacher.has_features:
                raise ValueError(
                    f"{name}_weight={config.term_weights[name]:g}: {config.teacher} has no linear layer whose inputs "
                    "could be looked at; allowed: 0"
                )
        self._further = GeneratorTerms(config, teacher.network, self._asked, parts.streams["noise"], watch=False)
        self._wanted = torch.empty(0, dtype=torch.int64, device=parts.device)

    def begin(self, source: Source) -> None:
        """Begin a call: draw the classes that are wanted, and let the source begin."""
        self._wanted = self._parts.wanted_classes(self._config.source_images)
        source.begin(self._wanted)

    def __call__(self, images: Tensor, *, early: bool) -> tuple[Tensor, Look]:
        """Return the loss, a scalar, and what it is of.

        Args:
            images: The source's, normalised, with gradients.
            early: Whether terms that need the student are left out.
        """
        parts = self._parts
        seen = images
        if self._config.source_views == "crop_flip":
            seen = parts.viewer(images, draw_views(len(images), parts.streams["views"]))
        student_logits = None
        if self._asks_student[early]:
            student_logits, _ = parts.matching.forward(parts.matching.student, seen)
        teacher_logits, activations, features = parts.teacher.observed(seen)
        look = Look(
            images=images,
            seen=seen,
            teacher_logits=teacher_logits,
            teacher_features=features,
            teacher_maps=parts.matching.teacher_maps(activations),
            student_logits=student_logits,
            wanted=self._wanted,
        )
        weights = self._config.term_weights
        values = [weights[name] * term(look) for name, term in self.terms.items() if not (early and term.needs_student)]
        # The student has not looked only where no term that is on reads its logits; the teacher's then stand in for them.
        shown = teacher_logits.detach() if student_logits is None else student_logits
        noise = self._further.draw(tuple(seen.shape), parts.dtype)
        disturbing = None if noise is None else noise.to(parts.device)
        values += self._further.terms(seen, shown, teacher_logits, disturbing, features=features)
        # With the adversarial term alone, a warm-up has no loss: its gradient is 0.
        return torch.stack(values).sum() if values else 0.0 * teacher_logits.sum(), look

    def updated(self, *, last: bool) -> None:
        """Let terms learn along with the source, whose gradients are there.

        Args:
            last: Whether this was the call's last look, of which terms take note.
        """
        for term in self.terms.values():
            term.updated()
            if last:
                term.call_ended()

    def state_dict(self) -> dict[str, Any]:
        """Return all that later losses depend on."""
        terms = {
            name: {"stream": term.setup.stream.get_state(), "term": term.state_dict()}
            for name, term in self.terms.items()
        }
        return {"wanted": self._wanted, "terms": terms}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``; a term that was off begins as at a trial's beginning."""
        self._wanted = state["wanted"].to(self._parts.device)
        for name, term in self.terms.items():
            if name in state["terms"]:
                term.setup.stream.set_state(state["terms"][name]["stream"])
                term.load_state_dict(state["terms"][name]["term"])

    def _divergence(self, student_logits: Tensor, teacher_logits: Tensor, mask: Tensor | None) -> Tensor:
        """Return the divergence that the source maximises; images outside a mask (batch,) of 0 and 1 count 0."""
        kind = self._of_source
        teacher_outputs = kind.outputs(teacher_logits, self._temperature)
        if mask is not None:
            kind = kind.masked(mask)
        return self._parts.matching.divergence(kind, student_logits, teacher_outputs, self._temperature)

    def _asked(self, _network: Network, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self._parts.teacher.asked(images), []
