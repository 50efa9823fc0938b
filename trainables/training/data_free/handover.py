"""Handover of pseudo images from the source to the student: selection, the pool, and the batches of student steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.config.data_free.pieces import GATES
from trainables.networks import in_eval_mode
from trainables.training.data_free.gates import Gate, Judged
from trainables.training.data_free.parts import Parts
from trainables.training.data_free.pools.pool import Pool
from trainables.training.data_free.sources.base import Source
from trainables.training.data_free.terms.base import Look
from trainables.training.data_free.views import draw_views, plain_views
from trainables.training.data_free.work import looks_again, policy_class
from trainables.training.matching import TeacherTargets

_FEWEST = 2
"""Smallest number of images in a student step: BatchNorm in train mode cannot do with one image."""


class Handover:
    """Passes pseudo images of one trial from its source to its student, through gate and pool."""

    def __init__(self, parts: Parts, source: Source) -> None:
        """Load the gate and make an empty pool.

        Args:
            parts: Networks, settings and random streams that the trial's parts share.
            source: Source of the images.
        """
        config = parts.config
        self._config = config
        self._parts = parts
        self._source = source
        self._varied = config.view != "none" and config.pool_views != 1
        """Whether the student sees random views of the images in the pool, instead of the images themselves."""
        self.pool_policy = policy_class(config)()
        self.pool = Pool(
            self.pool_policy,
            size=config.pool_size,
            precision=config.pool_precision,
            dtype=parts.dtype,
            maps=parts.matching.number_of_maps,
        )
        self._gate: Gate | None = GATES.load(config.gate) if config.gate else None
        self._best: Tensor | None = None
        """Loss of the images in ``_kept``: the lowest or the last of this call. None before the first update."""
        self._kept: dict[str, Tensor] = {}
        """Images of an update of this call with the teacher's outputs; after the handover, without a pool, the images and
        targets of the call's student steps."""

    @property
    def draws_batches(self) -> bool:
        """Whether each student step has a batch of ``batch_size`` images of its own, instead of the images of the call."""
        return self.pool_policy.keeps or self._config.latents == "fresh"

    def forget(self) -> None:
        """Forget the images of the current call."""
        self._best, self._kept = None, {}

    def note(self, look: Look, loss: Tensor) -> None:
        """Keep an update's images if they may be handed over: the last or, if ``student_batch=best``, those of lowest loss.

        With ``student_batch=updated`` nothing is kept: the images are made after the last update.
        """
        choice = self._config.student_batch
        if choice == "updated" or (choice == "best" and self._best is not None and not bool(loss < self._best)):
            return
        self._best = loss
        self._kept = {"images": look.images.detach(), "seen": look.seen.detach(), **_of_targets(look)}

    def hand_over(self) -> None:
        """Hand over the call's images: to the pool or, without one, to the student steps of this call."""
        config = self._config
        if config.latents == "fresh":  # each student step makes images of its own
            return
        kept = self._kept
        images = self._source.updated_images() if config.student_batch == "updated" else kept["images"]
        if not self.pool_policy.keeps:
            kept = {"images": images, **self._targets(images)}
            self._kept = self._passed(kept, kept["images"], kept["logits"])
            return
        if not looks_again(config):
            # The teacher's outputs on these views are known from the source's update.
            found = {name: kept[name] for name in kept if name not in {"images", "seen"}}
            self._add(kept["seen"], [plain_views(len(images))], [found])
        elif config.pool_views is None:
            self._add(images, [], [])
        else:
            drawn = [plain_views(len(images)), *(self._drawn(len(images)) for _ in range(config.pool_views - 1))]
            self._add(images, drawn, [self._targets(self._seen(images, views)) for views in drawn])
        self._kept = {}

    def student_batch(self) -> tuple[Tensor, TeacherTargets] | None:
        """Return images for a student step and the teacher's targets; None if fewer than two images have passed the gate."""
        config = self._config
        if config.latents == "fresh":
            images = self._source.further_images(self._parts.wanted_classes(config.batch_size), config.batch_size)
            return images, self._made(self._targets(images))
        if not self.pool_policy.keeps:
            if len(self._kept.get("images", ())) < _FEWEST:
                return None
            return self._kept["images"], self._made(self._kept)
        if len(self.pool) < _FEWEST:
            return None
        drawn = self.pool.draw(config.batch_size, self._parts.streams["pool"])
        images = self._parts.viewer.normalised(drawn.pixels)
        images = self._seen(images, self._drawn(len(images)) if drawn.views is None else drawn.views)
        if drawn.logits is None:
            return images, self._made(self._targets(images))
        return images, self._parts.matching.targets_of(drawn.logits, drawn.maps)

    def state_dict(self, *, needed: bool) -> dict[str, Any]:
        """Return everything that later student steps depend on.

        Args:
            needed: Whether student steps may follow. If not, the pool is left out.
        """
        best = {} if self._best is None else {"loss": self._best}
        return {"best": best, "kept": self._kept, "pool": self.pool.state_dict() if needed else {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self._best = state["best"]["loss"].to(self._parts.device) if state["best"] else None
        self._kept = {name: values.to(self._parts.device) for name, values in state["kept"].items()}
        if state["pool"]:
            self.pool.load_state_dict(state["pool"], self._parts.device)

    def _add(self, images: Tensor, views: list[Tensor], found: list[dict[str, Tensor]]) -> None:
        """Add the images that pass the gate to the pool.

        Args:
            images: (images, channels, height, width).
            views: Views of the images, each (images, 3).
            found: The teacher's outputs on each of ``views``, as ``_targets`` returns them.
        """
        config = self._config
        logits = found[0]["logits"] if found else None
        if logits is None and self._gate:
            logits = self._targets(images)["logits"]
        names = [name for name in (found[0] if found else {}) if name != "logits"]
        empty = torch.empty(len(images), 0, config.spec.num_classes, dtype=images.dtype, device=images.device)
        held = {
            "images": images,
            "views": torch.stack(views, 1).to(self._parts.device)
            if views
            else torch.empty(len(images), 0, 3, dtype=torch.int64, device=self._parts.device),
            "logits": torch.stack([each["logits"] for each in found], 1) if found else empty,
            **{name: torch.stack([each[name] for each in found], 1) for name in names},
        }
        if logits is not None:
            held = self._passed(held, images, logits)
        if len(held["images"]):
            self.pool.add(
                self._parts.viewer.pixels(held["images"]),
                held["views"],
                held["logits"],
                [held[name] for name in names],
                self._parts.streams["pool"],
            )

    def _passed(self, held: dict[str, Tensor], images: Tensor, teacher_logits: Tensor) -> dict[str, Tensor]:
        """Return each tensor's rows of the images that pass the gate; all rows without a gate."""
        if self._gate is None:
            return held
        matching = self._parts.matching
        with torch.no_grad(), in_eval_mode(matching.student):
            student_logits, _ = matching.forward(matching.student, images)
        passing = self._gate(
            Judged(
                images=images,
                teacher_logits=teacher_logits,
                student_logits=student_logits,
                threshold=self._config.gate_threshold,
            )
        )
        if passing.dtype != torch.bool or passing.shape != (len(images),):
            raise ValueError(
                f"gate={self._config.gate}: expected true or false for each of {len(images)} images, found a tensor "
                f"{tuple(passing.shape)} of {passing.dtype}"
            )
        return {name: values[passing] for name, values in held.items()}

    def _targets(self, images: Tensor) -> dict[str, Tensor]:
        """Return the teacher's logits and attention maps of images by name, and count the images."""
        self._parts.teacher.looks += len(images)
        targets = self._parts.matching.teacher_targets(images)
        return {"logits": targets.logits, **{f"map {number}": values for number, values in enumerate(targets.maps)}}

    def _made(self, found: Mapping[str, Tensor]) -> TeacherTargets:
        maps = [found[f"map {number}"] for number in range(sum(name.startswith("map ") for name in found))]
        return self._parts.matching.targets_of(found["logits"], maps)

    def _drawn(self, count: int) -> Tensor:
        """Draw a view for each image, (count, 3); plain views if the student sees no random views."""
        return draw_views(count, self._parts.streams["views"]) if self._varied else plain_views(count)

    def _seen(self, images: Tensor, views: Tensor) -> Tensor:
        """Return images in their views; unchanged if the student sees no random views."""
        return self._parts.viewer(images, views) if self._varied else images


def _of_targets(look: Look) -> dict[str, Tensor]:
    maps = {f"map {number}": values.detach() for number, values in enumerate(look.teacher_maps)}
    return {"logits": look.teacher_logits.detach(), **maps}
