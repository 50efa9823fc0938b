"""Fields of a supervised trial, which trains on labelled images."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from trainables.config.base import Count, NonNegative, Passes, Rate, Scale, Share
from trainables.config.roles import Cost, Names, given, length, setting, start
from trainables.config.trial import TimingProbe, TrialConfig


class SupervisedConfig(TrialConfig):
    """Training on labelled images, with or without a teacher (section 3).

    Covers the training of teachers and of students from scratch, knowledge distillation with attention transfer (KD+AT), and
    fine-tuning of a zero-shot student.
    """

    unit: ClassVar[str] = "epochs"

    method: Annotated[Literal["supervised"], given(cost=Cost.EQUAL, names=Names.NOTHING, inherited=True)] = "supervised"
    """Training on labelled images (section 3)."""

    initial_student: Annotated[str | None, start(cost=Cost.NONE)] = None
    """Student whose weights training starts from: ``SWEEP/TRIAL`` of a trial on the same storage, or ``case:NAME`` for the
    trial of that case with the same seed. None means fresh weights."""

    images_per_class: Annotated[Count | None, length(cost=Cost.AMOUNT)] = None
    """Number of training images of each class (M in the paper), chosen at random by ``seed``. None means all images."""

    full_data_epochs: Annotated[Count, length(cost=Cost.AMOUNT)] = 200
    """Number of epochs if all training images are used. Published: 200 (CIFAR-10), 100 (SVHN). With fewer images per class
    the number of epochs grows in inverse proportion, so that the number of updates stays about the same."""

    iteration_scale: Annotated[Rate, length(cost=Cost.AMOUNT)] = 1.0
    """Factor of the number of epochs. Published: 1; for few-shot training on SVHN images_per_class / 100."""

    distillation_weight: Annotated[float, Field(ge=0, le=1), setting(cost=Cost.NONE, inherited=False)] = 0.9
    """Weight alpha of the distillation term; the cross-entropy with the labels has the weight 1 - alpha. Has no effect
    without a teacher."""

    temperature: Annotated[Rate, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 4.0
    """Divisor of the logits of teacher and student before the softmax of the distillation term, which is multiplied by
    2 temperature^2."""

    attention_weight: Annotated[NonNegative, Scale.LOGARITHMIC, setting(cost=Cost.SWITCH, inherited=False)] = 1000.0
    """Factor of the attention transfer, multiplied by 3 / number of attention layers. 0 leaves the term out. Has no effect
    without a teacher."""

    learning_rate: Annotated[Rate, Scale.LOGARITHMIC, setting(cost=Cost.NONE, inherited=False)] = 0.1
    """Initial SGD learning rate, multiplied by 0.2 at 30, 60 and 80 % of the epochs."""

    momentum: Annotated[Share, setting(cost=Cost.NONE, inherited=False)] = 0.9
    """SGD momentum, without Nesterov."""

    weight_decay: Annotated[NonNegative, setting(cost=Cost.NONE, inherited=False)] = 5e-4
    """L2 penalty on every parameter, as torch's SGD applies it."""

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
        """Epochs at which the learning rate falls: 30, 60 and 80 % of the number of epochs before it is rounded down."""
        first, second, third = (int(self._exact_epochs * tenths / 10) for tenths in (3, 6, 8))
        return first, second, third

    @property
    def _exact_epochs(self) -> Fraction:
        # A fraction, so that rounding does not shift milestones: those of 13,333 1/3 epochs are 4,000, 8,000 and 10,666.
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
        return batches - (
            batches > 1 and images % self.batch_size == 1
        )  # a single last image joins the preceding batch

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
