"""The engine of data-free distillation: a call of the source, then steps of the student, until the budget is used up.

One pseudo batch, after which the next begins:

1. ``generator_steps`` times the source's images are scored by the sum of its loss's terms, and it takes a step down.
2. The images are handed over: a gate may drop some, and they go to the pool with the teacher's answers, or stay at hand.
3. ``student_steps`` times the student takes a step towards the teacher on images of the pool, or on those at hand.

Each of these parts is a step of the training, between any two of which a checkpoint may be taken. In the warm-up the third
part and the adversarial term are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import nn

from trainables.compute.acceleration import use_fast_numerics
from trainables.compute.devices import tf32
from trainables.compute.flops import passes_work
from trainables.config.data_free.config import DataFreeConfig
from trainables.config.datasets import find_normalisation
from trainables.evaluation import ProbeSet
from trainables.images.splits import DatasetSplits
from trainables.metrics import Report
from trainables.networks import Network, build_network
from trainables.networks.base import frozen_copy
from trainables.seeding import seeded, stream
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.teachers.teacher import Teacher
from trainables.training.attention import compared_layers, watch_layers
from trainables.training.data_free.handover import Handover
from trainables.training.data_free.loss import SourceLoss
from trainables.training.data_free.sources.base import SourceSetup
from trainables.training.data_free.student import StudentAverage, make_optimizer, source_rate, student_rate
from trainables.training.data_free.teacher import CountedTeacher
from trainables.training.data_free.views import Viewer
from trainables.training.data_free.work import part_passes, source_class, term_classes
from trainables.training.image_snapshots import ImageSnapshot, take_image_snapshot
from trainables.training.matching import StudentMatching
from trainables.training.protocol import Training, TrainingInputs, load_optimizer, set_rate
from trainables.training.pseudo_images import PredictedClasses, data_free_scores, diversity
from trainables.training.reports import TrainingLog

_MEANS = (
    "generator_loss",
    "student_loss",
    "divergence",
    "attention_transfer",
    "teacher_confidence",
    "student_confidence",
    "generator_gradient_norm",
    "student_gradient_norm",
    "image_diversity",
)


class DataFreeDistiller(Training):
    """One data-free trial."""

    config: DataFreeConfig
    teacher: Network

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
        """Build the trial's initial state.

        Args:
            config: The trial's settings.
            teacher: Weights for ``config.teacher`` on ``config.dataset``.
            splits: Images to measure accuracies on. The training part is not touched.
            probe: Images made from the teacher, on which ``data_free_scores`` are found.
            device: Where everything lives.
            dtype: Of weights and images; float64 serves comparisons between implementations.
            clock: Times training and evaluation.

        Raises:
            ValueError: a piece cannot work with these networks, attention transfer is asked for between networks whose
                activations do not match, or scores without a probe.
        """
        spec = config.spec
        self.config = config
        self.device = torch.device(device)
        self.dtype = dtype
        self.normalisation = find_normalisation(config.normalisation or config.dataset)
        self.splits = splits.measured_on(self.device)
        source_seed = config.seed if config.generator_seed is None else config.generator_seed
        self._student_seed = config.seed if config.student_seed is None else config.student_seed
        teacher_network = teacher.build()
        with seeded(self._student_seed, "student"):
            student = build_network(config.student, **spec.shapes)
        watch_layers(student, config.student_attention_layers, spec.image_shape, name=config.student)
        watch_layers(teacher_network, config.teacher_attention_layers, spec.image_shape, name=config.teacher)
        self.learner = student.to(self.device, dtype).train()
        """The network that the student's steps move."""
        self.teacher = teacher_network.to(self.device, dtype).requires_grad_(False).eval()
        self._scores = data_free_scores(config, probe, self.teacher)
        targets_by = self._prepared_teacher()
        if config.numerics == "fast":
            self.learner.to(memory_format=torch.channels_last)
        self._average = StudentAverage(self.learner, config.student_average) if config.student_average else None
        self.student = self._average.network if self._average else self.learner
        self.student_optimizer = make_optimizer(config, self._learning(), self.device)
        self.matching = StudentMatching(
            config,
            teacher=targets_by,
            student=self.learner,
            attention_pairs=compared_layers(
                self.learner,
                self.teacher,
                spec.image_shape,
                weight=config.attention_weight,
                names=(config.student, config.teacher),
                layers=config.attention_layers,
            ),
            device=self.device,
            dtype=dtype,
        )
        self.looked_at = CountedTeacher(self.teacher, forward=self.matching.forward)
        viewer = Viewer(self.normalisation, spec.channels, device=self.device, dtype=dtype)
        # Always on the CPU: the same numbers on every device, and a checkpoint that any device can continue.
        self._streams = {
            name: stream(source_seed, name) for name in ("latents", "noise", "wanted classes", "views", "pool")
        }
        self.source = source_class(config)(
            SourceSetup(
                config=config,
                viewer=viewer,
                seed=source_seed,
                stream=self._streams["latents"],
                autocast=self.matching.autocast,
                device=self.device,
                dtype=dtype,
            )
        )
        self.loss = SourceLoss(
            config,
            teacher=self.looked_at,
            student=self.learner,
            matching=self.matching,
            viewer=viewer,
            streams=self._streams,
            device=self.device,
            dtype=dtype,
        )
        self.handover = Handover(
            config,
            source=self.source,
            teacher=self.looked_at,
            matching=self.matching,
            viewer=viewer,
            streams=self._streams,
            device=self.device,
            dtype=dtype,
        )
        self._passes = {
            name: int(passes_work(config, passes).flops) for name, passes in vars(part_passes(config)).items()
        }
        self._part = 0
        self._call = torch.zeros(2, dtype=dtype, device=self.device)
        """Sums over this call's updates of the source: loss, and gradient norm."""
        self.pseudo_batches = 0
        self.generator_updates = 0
        self.student_updates = 0
        self.training_flops = 0
        self._classes = PredictedClasses(spec.num_classes, self.device)
        self.log = TrainingLog(_MEANS, self.student, clock=clock)
        self.last_report = None
        self.compiled = False
        self.notes = []
        if config.compiles_on(self.device.type):
            self._compile()
        if config.precision == "tf32" and self.device.type != "cuda":
            self.notes.append("precision=tf32 is of GPUs; on a CPU it is float32")
        if config.cuda_graphs:
            self.notes.append("cuda_graphs=true is of method=zero_shot; with data_free it changes nothing")

    @classmethod
    def build(cls, config: DataFreeConfig, inputs: TrainingInputs, device: torch.device) -> Self:
        assert inputs.teacher is not None  # its config always names one
        return cls(
            config,
            teacher=inputs.teacher,
            splits=inputs.splits,
            probe=inputs.probe,
            device=device,
            clock=inputs.clock,
        )

    @property
    def done(self) -> int:
        return self.pseudo_batches

    @property
    def warming_up(self) -> bool:
        """Whether the source alone learns."""
        return self.pseudo_batches < self.config.warmup

    def step(self) -> None:
        with (
            self.log.training(self.learner),
            seeded(self._student_seed, f"pseudo batch {self.pseudo_batches}, part {self._part}", self.device),
            tf32(allowed=self.config.precision == "tf32"),
        ):
            self._next_part()

    def report(self) -> Report:
        # First, for it waits for the device.
        entry = self.log.report(self, self.student, *self.source.trained(), further=lambda: self._scores(self.student))
        step = max(0, self.pseudo_batches - 1)
        self.last_report = {
            "pseudo_batches": self.pseudo_batches,
            "generator_updates": self.generator_updates,
            "student_updates": self.student_updates,
            "training_flops": float(self.training_flops),
            "teacher_looks": self.looked_at.looks,
            "pool_images": len(self.handover.pool),
            "generator_lr": source_rate(self.config, step),
            "student_lr": student_rate(self.config, step),
            **self._classes.take(),
            **entry,
        }
        return self.last_report

    def state_dict(self) -> dict[str, Any]:
        return {
            "config": self.config.model_dump(),
            "student": self.learner.state_dict(),
            "average": self._average.network.state_dict() if self._average else {},
            "student_optimizer": self.student_optimizer.state_dict()["state"],
            "source": self.source.state_dict(),
            "loss": self.loss.state_dict(),
            "handover": self.handover.state_dict(needed=self.pseudo_batches < self.config.horizon),
            "streams": {name: draws.get_state() for name, draws in self._streams.items()},
            "call": self._call,
            "compiled": self.compiled,
            "class_counts": self._classes.counts,
            "counters": {
                "part": self._part,
                "pseudo_batches": self.pseudo_batches,
                "generator_updates": self.generator_updates,
                "student_updates": self.student_updates,
                "training_flops": self.training_flops,
                "teacher_looks": self.looked_at.looks,
            },
            "logbook": self.log.state_dict(),
            "last_report": self.last_report,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["student"])
        if self._average:
            self._average.network.load_state_dict(state["average"] or state["student"])
        load_optimizer(self.student_optimizer, state["student_optimizer"])
        self.source.load_state_dict(state["source"])
        self.loss.load_state_dict(state["loss"])
        self.handover.load_state_dict(state["handover"])
        for name, draws in self._streams.items():
            draws.set_state(state["streams"][name])
        self._call.copy_(state["call"])
        if state["compiled"] != self.compiled:
            before, now = ("compiled", "not compiled") if state["compiled"] else ("not compiled", "compiled")
            self.notes.append(f"what was {before} before is {now} on this machine: numbers differ by rounding")
        self._classes.counts.copy_(state["class_counts"])
        self.log.load_state_dict(state["logbook"])
        counters = state["counters"]
        self._part = counters["part"]
        self.pseudo_batches = counters["pseudo_batches"]
        self.generator_updates = counters["generator_updates"]
        self.student_updates = counters["student_updates"]
        self.training_flops = counters["training_flops"]
        self.looked_at.looks = counters["teacher_looks"]
        self.last_report = state["last_report"]

    def image_snapshot(self) -> ImageSnapshot:
        return take_image_snapshot(
            self.config, images=self.source.shown, teacher=self.teacher, student=self.student, done=self.done
        )

    def _next_part(self) -> None:
        """Do the next part of this pseudo batch; the last one counts it."""
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
        self.learner.requires_grad_(False)  # its gradients are of no use here
        self.learner.train(self.config.student_mode_in_generator_step == "train")
        images = self.source.images()
        loss, look = self.loss(images, early=early)
        loss.backward()
        self.loss.updated(last=last)
        norm = self.source.update(source_rate(self.config, self.pseudo_batches))
        self.handover.note(look, loss.detach())
        self.learner.train()
        for weight in self._learning():
            weight.requires_grad_(True)
        self._call += torch.stack([loss.detach(), norm.detach()])
        self.generator_updates += 1
        self.training_flops += self._passes["early_update" if early else "update"]

    def _hand_over(self) -> None:
        if self.handover.pool_policy.keeps or not self.warming_up:
            self.handover.hand_over()
            self.training_flops += self._passes["handing_over"]

    def _student_step(self, *, last: bool) -> None:
        batch = self.handover.student_batch()
        if batch is None:  # the gate has let none pass
            return
        images, targets = batch
        found = self.matching.student_loss(images, targets)
        set_rate(self.student_optimizer, student_rate(self.config, self.pseudo_batches))
        self.student_optimizer.zero_grad(set_to_none=True)
        found.loss.backward()
        limit = self.config.gradient_clip_norm
        norm = nn.utils.clip_grad_norm_(self.learner.parameters(), math.inf if limit is None else limit)
        self.student_optimizer.step()
        if self._average:
            self._average.updated()
        self.student_updates += 1
        whole = self.config.batch_size if self.handover.draws_batches else self.config.source_images
        self.training_flops += self._passes["student_step"] * len(images) // whole
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
            self._classes.add(targets.logits, found.logits)

    def _learning(self) -> list[nn.Parameter]:
        """Weights that learn; what the student's builder froze stays as it is."""
        return [self.learner.get_parameter(name) for name in self._learning_names]

    def _prepared_teacher(self) -> Network:
        """Make the teacher fast where the config asks for that, and return the network that gives targets.

        Where terms watch its BatchNorm, that stays, and a copy without gives the targets.
        """
        self._learning_names = [name for name, weight in self.learner.named_parameters() if weight.requires_grad]
        if self.config.numerics != "fast":
            return self.teacher
        if any(term.watches_teacher for term in term_classes(self.config).values()):
            self.teacher.to(memory_format=torch.channels_last)
            return frozen_copy(self.teacher)
        use_fast_numerics(teacher=self.teacher, student=self.learner)
        return self.teacher

    def _compile(self) -> None:
        """Compile the student's loss and the teacher's targets, if torch can."""
        reason = self.matching.compile()
        self.compiled = reason is None
        if reason:
            self.notes.append(
                f"torch cannot compile here ({reason}), so the trial runs slower and with other rounding; "
                "compilation=never says that this is meant"
            )
