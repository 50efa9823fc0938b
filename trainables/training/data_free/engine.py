"""Engine of data-free distillation: the training loop that all data-free methods share.

One pseudo batch is one call of the source, followed by student steps:

1. ``generator_steps`` times: the source's loss, a sum of terms, is computed on its images, and the source takes a step down
   the gradient.
2. The images are handed over: a gate may drop some of them; the rest go to the pool with the teacher's outputs, or, without
   a pool, directly to the student steps of this pseudo batch.
3. ``student_steps`` times: the student takes a step towards the teacher, on images from the pool or on those handed over.

Each update, handover and student step is a step of the training, after which a checkpoint may be saved. During the warm-up
part 3 and the adversarial term are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from trainables.compute.acceleration import use_fast_numerics
from trainables.compute.devices import tf32
from trainables.compute.flops import passes_work
from trainables.config.data_free.config import DataFreeConfig
from trainables.evaluation import ProbeSet
from trainables.images.splits import DatasetSplits
from trainables.metrics import Report
from trainables.networks import Network
from trainables.networks.base import frozen_copy
from trainables.seeding import seeded, stream
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.teachers.teacher import Teacher
from trainables.training.data_free.handover import Handover
from trainables.training.data_free.loss import SourceLoss
from trainables.training.data_free.parts import Parts
from trainables.training.data_free.sources.base import Source, SourceSetup
from trainables.training.data_free.student import Rates, StudentAverage, make_optimizer
from trainables.training.data_free.teacher import CountedTeacher
from trainables.training.data_free.views import Viewer
from trainables.training.data_free.work import part_passes, source_class, term_classes
from trainables.training.image_snapshots import ImageSnapshot, take_image_snapshot
from trainables.training.matching import StudentMatching
from trainables.training.protocol import load_optimizer, set_rate
from trainables.training.pseudo_images import PseudoImageTraining, clipped_norm, diversity


class DataFreeDistiller(PseudoImageTraining):
    """Training of one data-free trial: a source of pseudo images and a student against a frozen teacher."""

    config: DataFreeConfig

    def __init__(
        self,
        config: DataFreeConfig,
        *,
        teacher: Teacher,
        splits: DatasetSplits,
        probe: ProbeSet | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Build the trial's initial state; see ``PseudoImageTraining`` for the arguments.

        Raises:
            ValueError: a source or term cannot work with these networks, attention transfer between networks without
                matching activations, or data-free scores without a probe set.
        """
        super().__init__(config, teacher=teacher, splits=splits, probe=probe, device=device, dtype=dtype, clock=clock)
        self.learner = self.student
        """Network that student steps update. ``student``, which is measured and kept, may be an average of its weights."""
        self.student_optimizer = make_optimizer(config, self.learning, self.device)
        targets_by = self._prepared_teacher()
        self._average = StudentAverage(self.learner, config.student_average) if config.student_average else None
        if self._average:
            self.student = self._average.network
        matching = StudentMatching(
            config,
            teacher=targets_by,
            student=self.learner,
            attention_pairs=self.attention_pairs(),
            device=self.device,
            dtype=dtype,
        )
        # Always on the CPU: the same numbers on every device, and a checkpoint from which any device can resume.
        streams = {
            name: stream(self.generator_seed, name) for name in ("latents", "noise", "wanted classes", "views", "pool")
        }
        self.parts = Parts(
            config=config,
            teacher=CountedTeacher(self.teacher, forward=matching.forward),
            matching=matching,
            viewer=Viewer(self.normalisation, config.spec.channels, device=self.device, dtype=dtype),
            streams=streams,
            seed=self.generator_seed,
            device=self.device,
            dtype=dtype,
        )
        self.source = _make_source(self.parts)
        self.loss = SourceLoss(self.parts)
        self.handover = Handover(self.parts, self.source)
        self._rates = Rates(config)
        self._flops = {part: int(passes_work(config, passes).flops) for part, passes in part_passes(config).items()}
        self._part = 0
        self._call = torch.zeros(2, dtype=dtype, device=self.device)
        """Sums of loss and gradient norm over the source's updates in this pseudo batch."""
        self.compile(matching)
        if config.cuda_graphs:
            self.notes.append("cuda_graphs=true has no effect with method=data_free, only with method=zero_shot")

    @property
    def warming_up(self) -> bool:
        """Whether the trial is in its warm-up, in which only the source is trained."""
        return self.pseudo_batches < self.config.warmup

    def step(self) -> None:
        with (
            self.log.training(self.learner),
            seeded(self.student_seed, f"pseudo batch {self.pseudo_batches}, part {self._part}", self.device),
            tf32(allowed=self.config.precision == "tf32"),
        ):
            self._next_part()

    def report(self) -> Report:
        # First, because the log waits for the device to finish.
        entry = self.log.report(self, self.student, *self.source.trained(), further=lambda: self.scores(self.student))
        step = max(0, self.pseudo_batches - 1)
        own: Report = {"teacher_looks": self.parts.teacher.looks, "pool_images": len(self.handover.pool)}
        rates = {"generator_lr": self._rates.source(step), "student_lr": self._rates.student(step)}
        self.last_report = self.counted(own | entry, **rates)
        return self.last_report

    def state_dict(self) -> dict[str, Any]:
        return self.common_state() | {
            "student": self.learner.state_dict(),
            "average": self._average.network.state_dict() if self._average else {},
            "student_optimizer": self.student_optimizer.state_dict()["state"],
            "source": self.source.state_dict(),
            "loss": self.loss.state_dict(),
            "handover": self.handover.state_dict(needed=self.pseudo_batches < self.config.horizon),
            "streams": {name: draws.get_state() for name, draws in self.parts.streams.items()},
            "call": {"part": self._part, "sums": self._call},
            "teacher_looks": self.parts.teacher.looks,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["student"])
        if self._average:
            self._average.network.load_state_dict(state["average"] or state["student"])
        load_optimizer(self.student_optimizer, state["student_optimizer"])
        self.source.load_state_dict(state["source"])
        self.loss.load_state_dict(state["loss"])
        self.handover.load_state_dict(state["handover"])
        for name, draws in self.parts.streams.items():
            draws.set_state(state["streams"][name])
        self._part = state["call"]["part"]
        self._call.copy_(state["call"]["sums"])
        self.parts.teacher.looks = state["teacher_looks"]
        self.restore_common(state)

    def image_snapshot(self) -> ImageSnapshot:
        return take_image_snapshot(
            self.config, images=self.source.shown, teacher=self.teacher, student=self.student, done=self.done
        )

    def _next_part(self) -> None:
        """Do the next part of this pseudo batch; after the last part the pseudo batch is counted."""
        config, part = self.config, self._part
        student_steps = 0 if self.warming_up else config.student_steps
        if part < config.generator_steps:
            self._source_update(first=part == 0, last=part == config.generator_steps - 1)
        elif part == config.generator_steps:
            self._hand_over()
        else:
            self._student_step(last=part == config.generator_steps + student_steps)
        self._part += 1
        if self._part > config.generator_steps + student_steps:
            self._part = 0
            self.pseudo_batches += 1
            self.source.end()
            self.handover.forget()

    def _source_update(self, *, first: bool, last: bool) -> None:
        early = self.warming_up
        if first:
            self.loss.begin(self.source)
            self._call.zero_()
        with self.looking_only(self.learner):
            loss, look = self.loss(self.source.images(), early=early)
            loss.backward()
        self.loss.updated(last=last)
        norm = self.source.update(self._rates.source(self.pseudo_batches))
        self.handover.note(look, loss.detach())
        self._call += torch.stack([loss.detach(), norm.detach()])
        self.generator_updates += 1
        self.training_flops += self._flops["early update" if early else "update"]

    def _hand_over(self) -> None:
        if self.handover.pool_policy.keeps or not self.warming_up:
            self.handover.hand_over()
            self.training_flops += self._flops["handing over"]

    def _student_step(self, *, last: bool) -> None:
        batch = self.handover.student_batch()
        if batch is None:  # too few images have passed the gate
            return
        images, targets = batch
        found = self.parts.matching.student_loss(images, targets)
        set_rate(self.student_optimizer, self._rates.student(self.pseudo_batches))
        self.student_optimizer.zero_grad(set_to_none=True)
        found.loss.backward()
        norm = clipped_norm(self.learner, self.config.gradient_clip_norm)
        self.student_optimizer.step()
        if self._average:
            self._average.updated()
        self.student_updates += 1
        whole = self.config.batch_size if self.handover.draws_batches else self.config.source_images
        self.training_flops += self._flops["student step"] * len(images) // whole
        if last:
            generator_loss, generator_norm = self._call / self.config.generator_steps
            self.log.means.add(
                generator_loss,
                found.loss.detach(),
                found.divergence.detach(),
                found.attention.detach(),
                targets.logits.softmax(1).amax(1).mean(),
                found.logits.detach().softmax(1).amax(1).mean(),
                generator_norm,
                norm.detach(),
                diversity(images),
            )
            self.classes.add(targets.logits, found.logits)

    def _prepared_teacher(self) -> Network:
        """Prepare the networks for ``numerics``, and return the teacher that gives targets.

        If terms read the teacher's BatchNorm layers, the teacher keeps them, and a copy with folded BatchNorm is returned.
        """
        if self.config.numerics != "fast":
            return self.teacher
        if not any(term.watches_teacher for term in term_classes(self.config).values()):
            use_fast_numerics(teacher=self.teacher, student=self.learner)
            return self.teacher
        for network in (self.teacher, self.learner):
            network.to(memory_format=torch.channels_last)
        return frozen_copy(self.teacher)


def _make_source(parts: Parts) -> Source:
    """Return the source that a trial's config names, in its initial state.

    Raises:
        ValueError: ``source`` does not name a source, or ``latents=fresh`` with a source that has no latents.
    """
    config = parts.config
    kind = source_class(config)
    if config.latents == "fresh" and not kind.has_latents:
        raise ValueError(f"latents=fresh: source={config.source} has no latents; allowed: latents=shared")
    return kind(
        SourceSetup(
            config=config,
            viewer=parts.viewer,
            seed=parts.seed,
            stream=parts.streams["latents"],
            autocast=parts.matching.autocast,
            device=parts.device,
            dtype=parts.dtype,
        )
    )
