"""The loss of a source: the sum of the terms that a trial switches on, on what the networks make of its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.config.data_free.config import DataFreeConfig
from trainables.networks import Network
from trainables.seeding import stream
from trainables.training.data_free.sources.base import Source
from trainables.training.data_free.teacher import CountedTeacher
from trainables.training.data_free.terms.base import Look, Term, TermSetup
from trainables.training.data_free.views import Viewer, draw_views
from trainables.training.data_free.work import needs_student, term_classes
from trainables.training.generator_terms import GeneratorTerms
from trainables.training.losses import find_divergence
from trainables.training.matching import StudentMatching


class SourceLoss:
    """The loss of one trial's source."""

    def __init__(
        self,
        config: DataFreeConfig,
        *,
        teacher: CountedTeacher,
        student: Network,
        matching: StudentMatching,
        viewer: Viewer,
        streams: Mapping[str, torch.Generator],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Make the terms ready.

        Args:
            config: The trial's settings.
            teacher: Whose answers the terms are about.
            student: Looked through where a term needs it.
            matching: How networks compute in this trial, and its divergence.
            viewer: Makes views of images.
            streams: Of ``noise``, ``wanted classes`` and ``views``.
            device: Where the networks are.
            dtype: Of images and losses.

        Raises:
            ValueError: a term cannot work with this teacher.
        """
        self._config = config
        self._teacher = teacher
        self._student = student
        self._matching = matching
        self._viewer = viewer
        self._streams = streams
        self._device = device
        self._dtype = dtype
        self._of_source = find_divergence(config.generator_divergence)
        temperature = config.adversarial_temperature or config.temperature
        self._temperature = torch.tensor(temperature, device=device, dtype=dtype)
        seed = config.seed if config.generator_seed is None else config.generator_seed
        self.terms: dict[str, Term] = {
            name: term(
                TermSetup(
                    config=config,
                    teacher=teacher,
                    adversarial_loss=self._divergence,
                    stream=stream(seed, f"term {name}"),
                    device=device,
                    dtype=dtype,
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
        self._further = GeneratorTerms(config, teacher.network, self._asked, streams["noise"], watch=False)
        self._wanted = torch.empty(0, dtype=torch.int64, device=device)

    def begin(self, source: Source) -> None:
        """Begin a call: draw the classes that are wanted, and let the source begin."""
        config, draws = self._config, self._streams["wanted classes"]
        wanted = torch.randint(config.spec.num_classes, (config.source_images,), generator=draws)
        self._wanted = wanted.to(self._device)
        source.begin(self._wanted)

    def __call__(self, images: Tensor, *, early: bool) -> tuple[Tensor, Look]:
        """Return the loss, a scalar, and what it is of.

        Args:
            images: The source's, normalised, with gradients.
            early: Whether terms that need the student are left out.
        """
        seen = images
        if self._config.source_views == "crop_flip":
            seen = self._viewer(images, draw_views(len(images), self._streams["views"]))
        student_logits = None
        if needs_student(self._config, early=early):
            student_logits, _ = self._matching.forward(self._student, seen)
        teacher_logits, activations, features = self._teacher.observed(seen)
        look = Look(
            images=images,
            seen=seen,
            teacher_logits=teacher_logits,
            teacher_features=features,
            teacher_maps=self._matching.teacher_maps(activations),
            student_logits=student_logits,
            wanted=self._wanted,
        )
        weights = self._config.term_weights
        values = [weights[name] * term(look) for name, term in self.terms.items() if not (early and term.needs_student)]
        # Those terms that are shown no student's logits do not look at them.
        shown = teacher_logits.detach() if student_logits is None else student_logits
        noise = self._further.draw(tuple(seen.shape), self._dtype)
        disturbing = None if noise is None else noise.to(self._device)
        values += self._further.terms(seen, shown, teacher_logits, disturbing, features=features)
        # In a warm-up there may be no term yet: then nothing moves.
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
        self._wanted = state["wanted"].to(self._device)
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
        return self._matching.divergence(kind, student_logits, teacher_outputs, self._temperature)

    def _asked(self, _network: Network, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self._teacher.asked(images), []
