"""Loss of a source: the weighted sum of the terms that a trial switches on."""

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
    """Loss of one trial's source, with its terms and their state."""

    def __init__(self, parts: Parts) -> None:
        """Build the terms.

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
        """Whether a term needs the student's logits: in the warm-up (True) and afterwards (False)."""
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
                    "the term could use; allowed: 0"
                )
        self._further = GeneratorTerms(config, teacher.network, self._asked, parts.streams["noise"], watch=False)
        self._wanted = torch.empty(0, dtype=torch.int64, device=parts.device)

    def begin(self, source: Source) -> None:
        """Begin a call of the source: draw a wanted class for each image, and begin the source's call."""
        self._wanted = self._parts.wanted_classes(self._config.source_images)
        source.begin(self._wanted)

    def __call__(self, images: Tensor, *, early: bool) -> tuple[Tensor, Look]:
        """Return the loss, a scalar, and the networks' outputs on which it was computed.

        Args:
            images: Normalised images of the source, with gradients.
            early: Whether the update is in the warm-up, in which terms with ``needs_student`` are left out.
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
        # Without the student's logits no term that is switched on reads them, so the teacher's may take their place.
        shown = teacher_logits.detach() if student_logits is None else student_logits
        noise = self._further.draw(tuple(seen.shape), parts.dtype)
        disturbing = None if noise is None else noise.to(parts.device)
        values += self._further.terms(seen, shown, teacher_logits, disturbing, features=features)
        # With the adversarial term alone, the warm-up has no term: a loss of 0 has the gradient 0.
        return torch.stack(values).sum() if values else 0.0 * teacher_logits.sum(), look

    def updated(self, *, last: bool) -> None:
        """Update the terms that learn, after the backward pass and before the source's step.

        Args:
            last: Whether this is the call's last update, after which terms keep what they need in later calls.
        """
        for term in self.terms.values():
            term.updated()
            if last:
                term.call_ended()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later losses depend on."""
        terms = {
            name: {"stream": term.setup.stream.get_state(), "term": term.state_dict()}
            for name, term in self.terms.items()
        }
        return {"wanted": self._wanted, "terms": terms}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned; a term that was off then keeps its initial state."""
        self._wanted = state["wanted"].to(self._parts.device)
        for name, term in self.terms.items():
            if name in state["terms"]:
                term.setup.stream.set_state(state["terms"][name]["stream"])
                term.load_state_dict(state["terms"][name]["term"])

    def _divergence(self, student_logits: Tensor, teacher_logits: Tensor, mask: Tensor | None) -> Tensor:
        """Return the divergence that the source maximises; images outside a mask (batch,) of 0 and 1 contribute 0."""
        kind = self._of_source
        teacher_outputs = kind.outputs(teacher_logits, self._temperature)
        if mask is not None:
            kind = kind.masked(mask)
        return self._parts.matching.divergence(kind, student_logits, teacher_outputs, self._temperature)

    def _asked(self, _network: Network, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self._parts.teacher.asked(images), []
