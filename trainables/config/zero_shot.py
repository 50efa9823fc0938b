"""Fields of a zero-shot trial.

The defaults are the published CIFAR-10 settings (Micaelli & Storkey, NeurIPS 2019, and the authors' code where the paper
is silent or differs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from trainables.config.base import Count, NonNegative, Passes, Rate, Scale, Seed, Weight
from trainables.config.divergences import DivergenceName, GeneratorTermName
from trainables.config.own_images import NO_DATASET
from trainables.config.plugins import STORED
from trainables.config.roles import (
    Column,
    Cost,
    Names,
    execution,
    given,
    length,
    measurement,
    permission,
    random_seed,
    setting,
    start,
)
from trainables.config.trial import PUBLISHED_BATCH_SIZE, NetworkName, TimingProbe, TrialConfig

Precision = Literal["float32", "tf32", "bfloat16"]
NetworkMode = Literal["train", "eval"]


def _joined(value: Any) -> Any:
    """Return a list of names as a comma-separated string, as result rows have it: ``layer1,layer2``."""
    return ",".join(value) if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value) else value


LayerNames = Annotated[str, BeforeValidator(_joined), Field(pattern=r"^[\w.]+(,[\w.]+)*$")]
"""Comma-separated names of modules, as ``named_modules`` lists them."""

_PUBLISHED_STUDENT_STEPS = 10

_MEASURING = 0.05
"""Share of a trial's work that measuring accuracy may take unless ``evaluation_interval`` is set."""

COMPILED_FROM = 500
"""Pseudo batches from which compiling saves time on a CPU: about a minute against 0.4 s each, WRN-16-2 to WRN-16-1."""


def split_attention_layers(values: Any) -> Any:
    """Replace ``attention_layers: {student: [...], teacher: [...]}`` in a trial's fields by the two fields it stands for.

    Raises:
        ValueError: ``attention_layers`` has another form.
    """
    if not isinstance(values, Mapping) or "attention_layers" not in values:
        return values
    layers = values["attention_layers"]
    if not isinstance(layers, Mapping) or not layers or not layers.keys() <= {"student", "teacher"}:
        raise ValueError(f"attention_layers={layers!r}; allowed: {{student: [MODULE, ...], teacher: [MODULE, ...]}}")
    others = {key: value for key, value in values.items() if key != "attention_layers"}
    return {**others, **{f"{network}_attention_layers": _joined(names) for network, names in layers.items()}}


class ZeroShotConfig(TrialConfig):
    """Zero-shot trial: a frozen teacher, a generator, and a student that is trained on no real image."""

    unit: ClassVar[str] = "pseudo_batches"
    budget_field: ClassVar[str | None] = "total_pseudo_batches"
    divisible: ClassVar[bool] = True

    method: Annotated[Literal["zero_shot"], given(cost=Cost.EQUAL, names=Names.NOTHING, inherited=True)] = "zero_shot"
    """Adversarial belief matching (section 2)."""

    teacher: Annotated[NetworkName, given(cost=Cost.EQUAL, names=Names.TEACHER, inherited=True)] = "wrn-40-2"
    """Architecture of the frozen teacher: ``lenet``, ``lenet-bn``, ``resnet-18``, ``resnet-34``, ``wrn-D-K``,
    ``torchvision:NAME``, ``timm:NAME``, or your own."""

    generator_seed: Annotated[Seed | None, random_seed(names=Names.NOTHING, inherited=False)] = None
    """Seed of the generator's weights, the latents and the noise. None means the value of ``seed``."""

    student_seed: Annotated[Seed | None, random_seed(names=Names.NOTHING, inherited=False)] = None
    """Seed of the student's initial weights and of random layers such as Dropout. None means the value of ``seed``."""

    generator_steps: Annotated[Count, setting(cost=Cost.AMOUNT, inherited=False)] = 1
    """Optimizer updates of the generator per pseudo batch (n_G in the paper)."""

    student_steps: Annotated[Count, setting(cost=Cost.AMOUNT, inherited=False)] = _PUBLISHED_STUDENT_STEPS
    """Optimizer updates of the student per pseudo batch (n_S in the paper)."""

    temperature: Annotated[Rate, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 1.0
    """Divisor of both networks' logits before the softmax of every divergence; ``l1`` compares the logits as they are."""

    attention_weight: Annotated[NonNegative, Scale.LOGARITHMIC, setting(cost=Cost.SWITCH, inherited=False)] = 250.0
    """Factor of the attention transfer in the student's loss (beta in the paper). The default belongs to a divergence that
    is averaged over batch and classes. 0 leaves the term out."""

    student_attention_layers: Annotated[
        LayerNames | None, given(cost=Cost.NONE, names=Names.NOTHING, inherited=False)
    ] = None
    """Names of the student's modules whose outputs attention transfer compares, in order of depth, such as
    ``layer1,layer2``. None means the network's own choice; for a network that makes none, the last output of each
    resolution. ``attention_layers: {student: [layer1, layer2], teacher: [...]}`` sets the field for both networks."""

    teacher_attention_layers: Annotated[
        LayerNames | None, given(cost=Cost.NONE, names=Names.NOTHING, inherited=False)
    ] = None
    """Names of the teacher's modules to compare with ``student_attention_layers``, equally many; the outputs of each pair
    must have equal height and width. None means the same default as for the student."""

    student_lr: Annotated[Rate, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 2e-3
    """Initial Adam learning rate of the student, annealed to 0 by a cosine over the learning-rate horizon."""

    generator_lr: Annotated[Rate, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 1e-3
    """Initial Adam learning rate of the generator, annealed to 0 by a cosine over the learning-rate horizon. The published
    code has 1e-3, the paper's text 2e-3."""

    gradient_clip_norm: Annotated[Rate | None, setting(cost=Cost.SWITCH, inherited=False)] = 5.0
    """Maximum global L2 norm of each network's gradient; larger gradients are scaled down at every step (in the published
    code, not in the paper's text). None means no clipping."""

    latent_dim: Annotated[Count, setting(cost=Cost.EQUAL, inherited=True)] = 100
    """Length of a latent, the generator's standard normal input."""

    generator_width: Annotated[int, Field(ge=2, multiple_of=2), setting(cost=Cost.EQUAL, inherited=True)] = 128
    """Channels of the generator's first two stages, an even number; the third has half as many. Published: 128."""

    total_pseudo_batches: Annotated[Count, length(cost=Cost.AMOUNT)] = 80_000
    """Budget of the trial: number of pseudo batches. Published: 80,000 (CIFAR-10), 50,000 (SVHN)."""

    learning_rate_horizon: Annotated[Count | None, length(cost=Cost.NONE)] = None
    """Number of pseudo batches after which both learning rates reach 0; at least ``total_pseudo_batches``. Defaults to
    ``total_pseudo_batches``, as published."""

    latents: Annotated[Literal["shared", "fresh"], setting(cost=Cost.EQUAL, inherited=False)] = "shared"
    """``shared``: latents are drawn once per pseudo batch, as published; ``fresh``: each student step draws latents of its
    own, from which the updated generator makes the images."""

    student_batch: Annotated[Literal["updated", "scored"], setting(cost=Cost.EQUAL, inherited=False)] = "updated"
    """Images that the student learns from. ``updated``: images of the generator after its last update, as published;
    ``scored``: images for which the loss of the last generator step was computed."""

    student_mode_in_generator_step: Annotated[NetworkMode, setting(cost=Cost.EQUAL, inherited=False)] = "train"
    """Mode of the student in generator steps. Published: ``train``, in which generator steps also update the running
    statistics of the student's BatchNorm."""

    student_divergence: Annotated[DivergenceName, setting(cost=Cost.EQUAL, inherited=False)] = "forward_kl"
    """Divergence that the student minimises: ``forward_kl``, KL(teacher || student), as published; ``reverse_kl``,
    KL(student || teacher); ``jensen_shannon``; ``l1``, the absolute difference of the logits; or one of your own."""

    generator_divergence: Annotated[DivergenceName, setting(cost=Cost.EQUAL, inherited=False)] = "forward_kl"
    """Divergence that the generator maximises; same choices as for ``student_divergence``."""

    divergence_reduction: Annotated[Literal["mean", "batchmean"], setting(cost=Cost.NONE, inherited=False)] = "mean"
    """Reduction of the divergences. ``mean``: mean over batch and classes, as in the published code; ``batchmean``: mean
    over the batch of the sum over classes. Changes the balance with ``attention_weight``."""

    temperature_factor: Annotated[Literal["none", "squared"], setting(cost=Cost.NONE, inherited=False)] = "none"
    """Factor of the divergences. ``none``: 1, as published; ``squared``: temperature^2, as is usual in distillation."""

    teacher_entropy_weight: Annotated[Weight, setting(cost=Cost.SWITCH, inherited=False)] = 0.0
    """Factor of the teacher's entropy on pseudo images (batch mean, nats) in the generator's loss; above 0 favours images
    that the teacher is sure of. The four extra terms come from the paper's supplement, their signs from this project."""

    student_entropy_weight: Annotated[Weight, setting(cost=Cost.SWITCH, inherited=False)] = 0.0
    """Factor of the student's entropy on pseudo images (batch mean, nats) in the generator's loss; above 0 favours images
    that the student is sure of."""

    consistency_weight: Annotated[Weight, setting(cost=Cost.SWITCH, inherited=False)] = 0.0
    """Factor of the consistency term in the generator's loss: batch mean of KL(teacher on images || on disturbed images)."""

    consistency_disturbance: Annotated[Literal["noise", "blur"], setting(cost=Cost.EQUAL, inherited=False)] = "noise"
    """Disturbance in the consistency term: Gaussian ``noise`` of standard deviation 0.1, or a 3x3 binomial ``blur``."""

    diversity_weight: Annotated[Weight, setting(cost=Cost.SWITCH, inherited=False)] = 0.0
    """Factor of the diversity term in the generator's loss: minus the mean distance between the images' features in the
    teacher's last hidden layer. A value above 0 favours images that differ from each other."""

    generator_term: Annotated[
        GeneratorTermName | None, setting(cost=Cost.EQUAL, inherited=False), Column.WHERE_GIVEN
    ] = None
    """Further term of the generator's loss, usually one of your own. None means no further term."""

    generator_term_weight: Annotated[Weight | None, setting(cost=Cost.SWITCH, inherited=False), Column.WHERE_GIVEN] = (
        None
    )
    """Factor of ``generator_term``. Defaults to 1."""

    audited: Annotated[bool, measurement(cost=Cost.EQUAL, told_by="test_accuracy")] = True
    """Whether the student is measured on real images at each report. If false, no real image or label is read once there is
    a teacher, accuracies are null, and published weights are not checked. Defaults to false with ``dataset: none``."""

    data_free_scores: Annotated[bool, measurement(cost=Cost.EQUAL, told_by="data_free_score")] = False
    """Whether the student is scored at each report on a probe set, images made from the teacher alone. Turned on
    automatically in a sweep whose objective is such a score, and with ``dataset: none``."""

    initial_trial: Annotated[str | None, start(cost=Cost.EQUAL)] = None
    """Trial of the same sweep from whose last state this trial starts; set by population-based training. None means fresh
    networks."""

    numerics: Annotated[Literal["exact", "fast"], setting(cost=Cost.EQUAL, inherited=True)] = "fast"
    """``exact``: on a CPU the weights are bit for bit those of a plain transcription of the published loop. ``fast``: the
    same computation in another order, which differs by rounding (channels last, upsampling fused into convolutions, the
    teacher's BatchNorm folded into convolutions, on a GPU fused Adam)."""

    precision: Annotated[Precision, setting(cost=Cost.EQUAL, inherited=False)] = "float32"
    """Arithmetic of the networks in the loop. ``tf32`` (GPU only) rounds the factors of convolutions and matrix products
    to 10 bits, ``bfloat16`` computes in 16 bits. Weights, losses and accuracies are float32 in all cases."""

    allow_slow_precision: Annotated[bool, permission(cost=Cost.EQUAL)] = False
    """Whether ``precision=bfloat16`` may run on a processor or GPU without instructions for bfloat16, where it takes 2 to 18
    times as long as ``float32`` (measured on CPUs). If false, such a trial is refused. Changes no number."""

    compilation: Annotated[Literal["auto", "always", "never"], setting(cost=Cost.COLUMN, inherited=False)] = "auto"
    """Whether torch compiles the loop, which changes rounding and takes one to five minutes once for each machine and pair
    of networks. ``auto`` compiles on a CPU with ``numerics=fast`` if the student is a WideResNet and the budget is at least
    500 pseudo batches."""

    cuda_graphs: Annotated[bool, execution(cost=Cost.EQUAL)] = False
    """Whether a pseudo batch is recorded on a GPU and launched as one CUDA graph, so that the GPU does not wait for Python.
    Changes no number. The graph reserves the loop's GPU memory, which is then not available for measuring. Has no effect on
    a CPU."""

    @model_validator(mode="before")
    @classmethod
    def _split_attention_layers(cls, values: Any) -> Any:
        return split_attention_layers(values)

    @model_validator(mode="before")
    @classmethod
    def _do_without_images(cls, values: Any) -> Any:
        """Set the defaults of a trial without images: not audited, but scored on the probe set."""
        without = isinstance(values, Mapping) and values.get("dataset", "") in {None, NO_DATASET}
        return {"audited": False, "data_free_scores": True, **values} if without else values

    @model_validator(mode="after")
    def _check_generator_term(self, info: ValidationInfo) -> Self:
        if self.generator_term is None and self.generator_term_weight is not None and info.context != STORED:
            raise ValueError(
                f"generator_term_weight={self.generator_term_weight:g} has no effect: generator_term names no term"
            )
        return self

    @model_validator(mode="after")
    def _check_numerics(self) -> Self:
        if self.numerics == "exact" and (
            self.precision != "float32" or self.compilation == "always" or self.cuda_graphs
        ):
            raise ValueError(
                f"numerics=exact excludes precision={self.precision} with compilation={self.compilation} and "
                f"cuda_graphs={str(self.cuda_graphs).lower()}; allowed: precision=float32, compilation auto or never, and "
                "cuda_graphs=false"
            )
        return self

    @model_validator(mode="after")
    def _check_audit(self) -> Self:
        if self.audited and self.dataset == NO_DATASET:
            raise ValueError(
                "audited=true: dataset=none has no images to be measured on; allowed: false, or leave it out"
            )
        if self.transition_images and not self.audited:
            raise ValueError(
                f"transition_images={self.transition_images} are real images and audited=false reads none; allowed: "
                "transition_images=0, or audited=true"
            )
        return self

    @model_validator(mode="after")
    def _check_horizon(self) -> Self:
        if self.learning_rate_horizon is not None and self.learning_rate_horizon < self.total_pseudo_batches:
            raise ValueError(
                f"learning_rate_horizon={self.learning_rate_horizon} lies before total_pseudo_batches="
                f"{self.total_pseudo_batches}; allowed: at least {self.total_pseudo_batches}, or none"
            )
        return self

    @model_validator(mode="after")
    def _check_student_batch(self) -> Self:
        if self.latents == "fresh" and self.student_batch == "scored":
            raise ValueError(
                "latents=fresh and student_batch=scored exclude each other; with fresh latents only updated is allowed"
            )
        return self

    @property
    def budget(self) -> int:
        return self.total_pseudo_batches

    @property
    def report_interval(self) -> int:
        if self.evaluation_interval:
            return self.evaluation_interval
        spec = self.spec
        images = spec.test_images + round(spec.training_images * self.validation_fraction) if self.audited else 0
        # In forward passes of the student: a student step takes three per image, measuring one. Teacher and generator are
        # not counted. The published steps and batch size stand for the trial's own, so that all trials of a sweep report at
        # the same points, where early stopping compares them.
        work = 3 * _PUBLISHED_STUDENT_STEPS * PUBLISHED_BATCH_SIZE
        affordable = math.ceil(images / (_MEASURING * work))
        at_least_ten = max(1, self.budget // 10)  # fewer reports would leave early stopping nothing to compare
        return min(at_least_ten, max(1, self.budget // 100, affordable))

    @property
    def reads_images(self) -> bool:
        return self.audited

    @property
    def is_scored(self) -> bool:
        return self.data_free_scores

    @property
    def needs_bfloat16(self) -> bool:
        return self.precision == "bfloat16" and not self.allow_slow_precision

    @property
    def wants_compilation(self) -> bool:
        """Whether torch is to compile the loop. If torch cannot, or with ``auto`` on a GPU, the trial runs uncompiled."""
        if self.compilation == "auto":
            long = self.total_pseudo_batches >= COMPILED_FROM
            return self.numerics == "fast" and long and self.student.startswith("wrn")
        return self.compilation == "always"

    @property
    def attention_layers(self) -> tuple[str | None, str | None]:
        return self.student_attention_layers, self.teacher_attention_layers

    def compiles_on(self, device: str) -> bool:
        # On a GPU, where a pseudo batch takes milliseconds, it has not been measured yet from which budget compiling pays.
        return self.wants_compilation and (device == "cpu" or self.compilation == "always")

    @property
    def horizon(self) -> int:
        """Pseudo batches after which both learning rates are 0."""
        return self.learning_rate_horizon or self.total_pseudo_batches

    @property
    def takes_over_from(self) -> str | None:
        return self.initial_trial

    def part(self, until: int, *, takes_over_from: str | None = None) -> Self:
        return self.model_copy(
            update={
                "total_pseudo_batches": until,
                "learning_rate_horizon": self.horizon,
                "evaluation_interval": self.report_interval,
                "initial_trial": takes_over_from,
            }
        )

    @property
    def student_updates_per_unit(self) -> float:
        return self.student_steps

    @property
    def passes_per_step(self) -> Passes:
        # A generator step takes a forward pass of all three networks, a backward pass to the inputs of student and teacher,
        # and one to the generator's weights (counted as two). A student step takes three passes of the student. Generator
        # and teacher take one more forward pass each for the updated images. Extra generator terms are not counted.
        looks = self.student_steps if self.latents == "fresh" else 1
        generated = 0 if self.student_batch == "scored" else looks
        return Passes(
            student=2 * self.generator_steps + 3 * self.student_steps,
            teacher=2 * self.generator_steps + looks,
            generator=3 * self.generator_steps + generated,
            updates=self.generator_steps + self.student_steps,
        )

    @property
    def generator_size(self) -> tuple[int, int]:
        return self.latent_dim, self.generator_width

    @property
    def timing_probe(self) -> TimingProbe:
        # A whole pseudo batch can take a minute on a CPU, so the time of a student step is the difference between pseudo
        # batches with one and with two of them. Compiling would take longer than it saves here, so the estimate for a trial
        # that will be compiled is a little too high.
        one, two = (
            self.model_copy(update={"student_steps": steps, "compilation": "never", "data_free_scores": False})
            for steps in (1, 2)
        )
        return TimingProbe(short=one, longer=two, repeats=self.student_steps - 1)

    def scaled(self, fraction: float) -> Self:
        if fraction == 1:
            return self
        total = max(1, round(self.total_pseudo_batches * fraction))
        # The learning rates stay those of the whole trial, so that the shortened trial follows the same learning curve.
        return self.model_copy(
            update={
                "total_pseudo_batches": total,
                "learning_rate_horizon": self.horizon,
                "evaluation_interval": self.evaluation_interval or max(1, total // 10),
            }
        )
