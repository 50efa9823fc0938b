"""Fields of a training on labelled images."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from trainables.config.base import Count, NonNegative, Passes, Rate, Scale, Share
from trainables.config.roles import Cost, Names, given, length, setting, start
from trainables.config.trial import TimingProbe, TrialConfig


class SupervisedConfig(TrialConfig):
    """Training on labelled images, with or without a teacher's help: teachers, students from scratch, knowledge
    distillation with attention transfer (KD+AT), and fine-tuning of a zero-shot student (section 3)."""

    unit: ClassVar[str] = "epochs"

    method: Annotated[Literal["supervised"], given(cost=Cost.EQUAL, names=Names.NOTHING, inherited=True)] = "supervised"
    """Training on labelled images (section 3)."""

    initial_student: Annotated[str | None, start(cost=Cost.NONE)] = None
    """Where training starts: ``SWEEP/TRIAL`` of a student on the same storage, or ``case:NAME`` for the trial of that
    case with the same seed; none: fresh weights."""

    images_per_class: Annotated[Count | None, length(cost=Cost.AMOUNT)] = None
    """Training images of each class, another choice for each seed (M in the paper); none: all of them."""

    full_data_epochs: Annotated[Count, length(cost=Cost.AMOUNT)] = 200
    """Passes over the data if all of it is used. Published: 200 (CIFAR-10), 100 (SVHN). With fewer images per class there
    are as many more epochs, so that the number of updates stays about the same."""

    iteration_scale: Annotated[Rate, length(cost=Cost.AMOUNT)] = 1.0
    """Multiplies the number of epochs. Published: 1, but images_per_class / 100 for few-shot training on SVHN."""

    distillation_weight: Annotated[float, Field(ge=0, le=1), setting(cost=Cost.NONE, inherited=False)] = 0.9
    """Share of the distillation term against the labels' cross-entropy (alpha), where there is a teacher."""

    temperature: Annotated[Rate, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 4.0
    """Divides both logits before the softmax of the distillation term, which is multiplied by 2 temperature^2."""

    attention_weight: Annotated[NonNegative, Scale.LOGARITHMIC, setting(cost=Cost.SWITCH, inherited=False)] = 1000.0
    """Factor of the attention transfer, where there is a teacher, times 3 / number of attention layers. 0: none."""

    learning_rate: Annotated[Rate, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 0.1
    """Initial SGD learning rate, multiplied by 0.2 at 30, 60 and 80 % of the epochs."""

    momentum: Annotated[Share, setting(cost=Cost.NONE, inherited=False)] = 0.9
    """SGD momentum, without Nesterov."""

    weight_decay: Annotated[NonNegative, setting(cost=Cost.NONE, inherited=False)] = 5e-4
    """L2 penalty on every parameter, as SGD applies it."""

    @model_validator(mode="after")
    def _check_training_images(self) -> Self:
        if self.has_own_images and not self.training_images:
            raise ValueError(
                f"dataset={self.dataset} has no images to train {self.student} on: name the teacher's file with "
                "teacher_checkpoint, or images with a part for training"
            )
        return self

    @property
    def budget(self) -> int:
        return max(1, int(self._exact_epochs))

    @property
    def milestones(self) -> tuple[int, int, int]:
        """Epochs at which the learning rate falls: 30, 60 and 80 % of the epochs before they were rounded down."""
        first, second, third = (int(self._exact_epochs * tenths / 10) for tenths in (3, 6, 8))
        return first, second, third

    @property
    def _exact_epochs(self) -> Fraction:
        # A fraction, because the milestones of 13,333 1/3 epochs are 4,000, 8,000 and 10,666 and must not hang on a bit.
        epochs = self.full_data_epochs * Fraction(str(self.iteration_scale))
        if self.images_per_class is None:
            return epochs
        spec = self.spec
        return epochs * Fraction(spec.training_images, spec.num_classes * self.images_per_class)

    @property
    def learns_from_images(self) -> bool:
        return True

    @property
    def starts_from(self) -> str | None:
        return self.initial_student

    def from_scratch(self) -> Self:
        return self.model_copy(update={"initial_student": None})

    @property
    def steps_per_unit(self) -> int:
        spec = self.spec
        few = self.images_per_class and self.images_per_class * spec.num_classes
        images = few or round(spec.training_images * (1 - self.validation_fraction))
        batches = -(-images // self.batch_size)
        return batches - (batches > 1 and images % self.batch_size == 1)  # the last image joins the batch before

    @property
    def passes_per_step(self) -> Passes:
        return Passes(student=3, teacher=1 if self.teacher else 0, generator=0, updates=1)

    @property
    def timing_probe(self) -> TimingProbe:
        few = self.from_scratch().model_copy(update={"images_per_class": None})
        return TimingProbe(short=few, longer=few, repeats=0)

    def scaled(self, fraction: float) -> Self:
        if fraction == 1:
            return self
        scale = float(Fraction(str(self.iteration_scale)) * Fraction(str(fraction)))
        shorter = self.model_copy(update={"iteration_scale": scale})
        interval = self.evaluation_interval or max(1, shorter.budget // 10)
        return shorter.model_copy(update={"evaluation_interval": interval})
