"""Fields that every trial has, whatever its method.

"Section N" in this package means that part of the method as the page ``docs/method.md`` tells it. Configs are flat and
scalar, so that a config is a row of the results table.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import Field, ValidationInfo, model_validator

from trainables.config.base import Config, Count, Passes, Seed, Share, SplitsKey, TeacherKey
from trainables.config.datasets import (
    DatasetSpec,
    find_normalisation,
    find_spec,
    normalisation_names,
    parse_image_size,
)
from trainables.config.network_names import check_network_name
from trainables.config.own_images import IMAGE_FIELDS, ImageSizeText, NormalisationName, check_images, split_address
from trainables.config.plugins import STORED, Registry, checked, is_foreign
from trainables.config.roles import Column, Cost, Names, given, location, measurement, random_seed, roles_of, setting
from trainables.metrics import METRICS

NetworkName = Annotated[str, checked(check_network_name)]
MethodName = Annotated[str, given(cost=Cost.EQUAL, names=Names.NOTHING, inherited=True)]
"""Type of the field ``method`` in a config of a user's own, which is called what the file or entry point is."""

OTHER_METRICS = Registry(what="metric", group="zskt.metrics", own={})
"""Metrics that are not this project's: functions of ``trainables.training.reports.Measured`` that return a number and leave
no trace in it."""

_METRIC_NAMES = {metric.name for metric in METRICS}
"""Those that this project measures anyway."""


def is_own_metric(name: str) -> bool:
    """Whether a metric is one of a file or package; a name of this project's means its own."""
    return name not in _METRIC_NAMES and is_foreign(OTHER_METRICS.group, name)


def _check_metrics(names: str) -> str:
    """Return names of metrics, with commas between them, as they are kept.

    Raises:
        ValueError: nothing has one of them, or it is measured anyway.
    """
    each = [name.strip() for name in names.split(",")]
    if not _METRIC_NAMES.isdisjoint(each):
        raise ValueError(
            f"metrics={names}: {', '.join(sorted(_METRIC_NAMES & {*each}))} is measured anyway; leave it out"
        )
    return ",".join(dict.fromkeys(OTHER_METRICS.check(name) for name in each))


PUBLISHED_BATCH_SIZE = 128
"""Images per optimizer update in all published trainings."""


class TimingProbe(NamedTuple):
    """How a step of a trial is timed where a whole one takes too long."""

    short: TrialConfig
    """A trial whose steps are short."""

    longer: TrialConfig
    """The same with one more of what a step repeats."""

    repeats: int
    """How many more of them a step of the trial itself has than one of ``short``."""

    whole_units: bool = False
    """Whether steps differ from each other, so that all those of one ``unit`` of ``short`` are timed together; a unit of the
    trial then takes as much longer as it has more operations."""


class TrialConfig(Config):
    """What every trial has, whatever its method: images to be measured on, a student, perhaps a teacher, seeds."""

    unit: ClassVar[str]
    """What the budget of a trial is counted in, and the metric that counts it."""

    budget_field: ClassVar[str | None] = None
    """The field that is the budget, so that a sweep can give each trial another; None: it follows from other fields."""

    divisible: ClassVar[bool] = False
    """Whether a trial can be trained in parts, each a trial with settings of its own (``part``)."""

    dataset: Annotated[str, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)] = "cifar10"
    """Data set the teacher was trained on: ``cifar10``, ``cifar100``, ``svhn``, ``mnist``, ``fashion_mnist``, ``digits``, or
    that of an installed package; the student's accuracy is measured on it. The address of a Parquet file with its name,
    ``s3://.../cifar10.parquet``, says at once where it is. A folder, archive or Parquet file of any other name holds images
    of your own, and ``none`` means that there are none."""

    dataset_file: Annotated[str | None, location(names=Names.IMAGES)] = None
    """Path or address of a Parquet file with the data set, as ``zskt dataset export`` writes it, or of images of your own;
    none: what torchvision keeps in ``data_root``."""

    image_size: Annotated[ImageSizeText | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)] = None
    """Height and width of all images in pixels, 16 to 224: ``28``, or ``48x40``; none: the data set's own, which is 32x32
    for the named ones. Images of another size are resized; pseudo images are as large."""

    channels: Annotated[
        Annotated[int, Field(ge=1, le=4)] | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)
    ] = None
    """Channels of images of your own: 1 is grey, 2 grey and alpha, 3 colour, 4 colour and alpha. Read from the images;
    said, 1 or 3 makes grey ones or coloured ones of them. None: of a named data set."""

    num_classes: Annotated[
        Annotated[int, Field(ge=2)] | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)
    ] = None
    """Classes of images of your own, read from them; with ``dataset: none`` those of the teacher. None: of a named data
    set."""

    training_images: Annotated[
        Annotated[int, Field(ge=0)] | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)
    ] = None
    """Training images among those of your own, the validation part counted in; read from them."""

    test_images: Annotated[
        Annotated[int, Field(ge=1)] | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)
    ] = None
    """Test images among those of your own; read from them."""

    dataset_sha256: Annotated[str | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)] = None
    """Checksum of images of your own, by which others under the same name are another data set; read from them."""

    student: Annotated[NetworkName, setting(cost=Cost.EQUAL, inherited=True)] = "wrn-16-1"
    """Architecture of the network that is trained: ``lenet``, ``lenet-bn``, ``resnet-18``, ``resnet-34``, ``wrn-D-K``, or
    your own."""

    teacher: Annotated[NetworkName | None, given(cost=Cost.EQUAL, names=Names.TEACHER, inherited=True)] = None
    """Architecture of the frozen teacher: ``lenet``, ``lenet-bn``, ``resnet-18``, ``resnet-34``, ``wrn-D-K``, or your own;
    none: there is none."""

    teacher_checkpoint: Annotated[str | None, given(cost=Cost.NONE, names=Names.TEACHER, inherited=True)] = None
    """File with published teacher weights, by ``torch.save`` or safetensors, in any layout in which names and shapes
    decide; none: the registry's, trained here if need be."""

    normalisation: Annotated[NormalisationName | None, given(cost=Cost.NONE, names=Names.TEACHER, inherited=True)] = (
        None
    )
    """Normalisation that the teacher expects of real images: a data set's name, ``half`` for (0.5, 0.5), ``unit``, which
    leaves pixels in [0, 1], ``imagenet`` for that data set's, or numbers, MEAN:STD such as ``0.49,0.48,0.45:0.2,0.2,0.2``;
    none: the data set's own. Of images of your own: mean and standard deviation of the training images, unless the teacher
    comes from a file; then it must be said."""

    teacher_seed: Annotated[Seed | None, random_seed(names=Names.TEACHER, inherited=True)] = None
    """Seeds the training of a teacher that is trained here; none: as the recipe has it."""

    seed: Annotated[Seed, random_seed(names=Names.NOTHING, inherited=False)] = 0
    """Seeds everything that is random in the trial, each purpose through a stream of its own."""

    batch_size: Annotated[int, Field(ge=2), setting(cost=Cost.EQUAL, inherited=False)] = PUBLISHED_BATCH_SIZE
    """Images per optimizer update; at least 2, since BatchNorm is trained on them."""

    evaluation_interval: Annotated[Count | None, measurement(cost=Cost.AMOUNT, told_by=None)] = None
    """Pseudo batches, or epochs, between reports; none: a hundredth of the budget, as published; in short zero-shot
    trials more, so that measuring stays a twentieth of the work, but at most a tenth of the budget."""

    validation_fraction: Annotated[Share, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=False)] = 0.1
    """Share of the training split set aside, stratified by class, to select on. No network trained here sees it. 0, as
    published: nothing is set aside, and there is no validation accuracy."""

    split_seed: Annotated[Seed, given(cost=Cost.NONE, names=Names.IMAGES, inherited=False)] = 0
    """Chooses which training images form the validation part."""

    transition_images: Annotated[int, Field(ge=0), measurement(cost=Cost.EQUAL, told_by="transition_images")] = 0
    """Test images from which transition curves are taken when the trial is complete (section 4; the paper takes 1,000);
    0: none."""

    metrics: Annotated[
        Annotated[str, checked(_check_metrics)] | None,
        measurement(cost=Cost.EQUAL, told_by="metrics"),
        Column.WHERE_GIVEN,
    ] = None
    """Metrics of your own, ``FILE.py:NAME`` or those of an installed package, with commas between them, that are measured at
    each report beside the others; none: none. An objective or constraint of your own says so by itself."""

    student_timed: Annotated[bool, measurement(cost=Cost.NONE, told_by="student_latency")] = False
    """Whether it is timed on the trial's machine how long the student takes for one image and for 128: the metrics
    ``student_latency`` and ``student_latency_128``. A sweep that selects on one of them says so by itself."""

    # Each of this project's methods narrows it to its own name.
    method: MethodName

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a method whose config has a field without a role."""
        super().__pydantic_init_subclass__(**kwargs)
        roles_of(cls)

    @classmethod
    def method_names(cls) -> tuple[str, ...]:
        """Return the method's name, unless it is a user's own, and those of the methods that it extends, whose metrics it
        reports too."""
        kinds = (base for base in cls.__mro__ if issubclass(base, TrialConfig))
        return tuple(
            kind.model_fields["method"].default for kind in kinds if not kind.model_fields["method"].is_required()
        )

    @property
    @abstractmethod
    def budget(self) -> int:
        """After how many of ``unit`` the trial is complete."""

    @property
    def report_interval(self) -> int:
        """How many of ``unit`` lie between two reports, at least 1."""
        return self.evaluation_interval or max(1, self.budget // 100)

    @property
    def units_before_learning(self) -> int:
        """After how many of ``unit`` the student begins to learn; no report is made before."""
        return 0

    @property
    def reports(self) -> int:
        """Reports of a whole trial, the last one at its end."""
        before = self.units_before_learning // self.report_interval
        return max(1, math.ceil(self.budget / self.report_interval) - before)

    def next_report(self, reported: int) -> int:
        """Return after how many of ``unit`` the next report falls.

        Args:
            reported: After how many the last one fell; 0: there was none.
        """
        before = max(reported, self.units_before_learning)
        return min((before // self.report_interval + 1) * self.report_interval, self.budget)

    @abstractmethod
    def scaled(self, fraction: float) -> Self:
        """The same trial with a fraction of its budget, in (0, 1], and ten reports unless an interval is given."""

    @property
    def reads_images(self) -> bool:
        """Whether real images or labels have any part in the trial, be it that the student is measured on them."""
        return True

    @property
    def learns_from_images(self) -> bool:
        """Whether the student is trained on real images."""
        return False

    @property
    def is_scored(self) -> bool:
        """Whether the student is scored on images made from the teacher alone."""
        return False

    @property
    def needs_bfloat16(self) -> bool:
        """Whether the trial is to run only where a machine has instructions for bfloat16."""
        return False

    @property
    def attention_layers(self) -> tuple[str | None, str | None]:
        """Modules of student and teacher that attention transfer is told to compare; None: the networks' own choice."""
        return None, None

    def compiles_on(self, device: str) -> bool:
        """Return whether torch is to compile the loop on a device, ``cpu`` or ``cuda``."""
        return False

    @property
    def starts_from(self) -> str | None:
        """``SWEEP/TRIAL`` of the student whose weights the student begins with; None: fresh ones."""
        return None

    @property
    def takes_over_from(self) -> str | None:
        """The trial of the same sweep in whose last state this one begins; None: in none."""
        return None

    def from_scratch(self) -> Self:
        """Return the same trial with a fresh student."""
        return self

    def part(self, until: int, *, takes_over_from: str | None = None) -> Self:
        """Return a trial that is part of this one, where the method is ``divisible``: at this one's rates and intervals.

        Args:
            until: The part's end, in ``unit``.
            takes_over_from: The trial that had the part before.
        """
        raise TypeError(f"method={self.method}: a trial cannot be trained in parts")

    @property
    def own_metrics(self) -> tuple[str, ...]:
        """Names of the metrics that are not this project's; they are those of their columns too."""
        return tuple(self.metrics.split(",")) if self.metrics else ()

    @property
    def steps_per_unit(self) -> int:
        """How often ``Training.step`` is called for one ``unit`` of the budget."""
        return 1

    @property
    def student_updates_per_unit(self) -> float:
        """Optimizer updates of the student in one ``unit`` of the budget, in the mean over all of it."""
        return self.steps_per_unit

    @property
    @abstractmethod
    def passes_per_step(self) -> Passes:
        """What one step computes, as if nothing were done twice."""

    @property
    def generator_size(self) -> tuple[int, int] | None:
        """Latent dimension and width of the generator; None of a method without one."""
        return None

    @property
    def timing_probe(self) -> TimingProbe:
        """How a step is timed."""
        config = self.from_scratch()
        return TimingProbe(short=config, longer=config, repeats=0)

    @model_validator(mode="before")
    @classmethod
    def _split_address(cls, values: Any) -> Any:
        """``dataset: FOLDER/NAME.parquet`` is short for ``dataset: NAME`` and ``dataset_file``, and so are images of one's
        own, which take the name of their folder or file."""
        return {**values, **split_address(values)} if isinstance(values, Mapping) else values

    @property
    def has_own_images(self) -> bool:
        """Whether the images are none of a named data set, so that the config itself says what is known of them."""
        return self.num_classes is not None

    @property
    def spec(self) -> DatasetSpec:
        """What is known of the images, of the size that is asked for."""
        size = parse_image_size(self.image_size) if self.image_size else None
        if self.num_classes is not None and self.channels and size and self.normalisation:
            return DatasetSpec(
                channels=self.channels,
                num_classes=self.num_classes,
                training_images=self.training_images or 0,
                test_images=self.test_images or 0,
                normalisation=find_normalisation(self.normalisation),
                image_size=size,
            )
        spec = find_spec(self.dataset)
        return replace(spec, image_size=size) if size else spec

    @property
    def splits_key(self) -> SplitsKey:
        """Names the images: trials with equal keys share them."""
        return SplitsKey(**{field: getattr(self, field) for field in SplitsKey._fields})

    @property
    def teacher_key(self) -> TeacherKey | None:
        """Names the teacher: trials with equal keys share it; none where there is no teacher."""
        if self.teacher is None:
            return None
        return TeacherKey(self.splits_key, self.teacher, self.teacher_checkpoint, self.normalisation, self.teacher_seed)

    @model_validator(mode="after")
    def _check_images(self, info: ValidationInfo) -> Self:
        if info.context != STORED:
            check_images(self.model_dump(include=IMAGE_FIELDS))
        return self

    @model_validator(mode="after")
    def _check_teacher_seed(self) -> Self:
        if self.teacher_seed is not None and (self.teacher is None or self.teacher_checkpoint is not None):
            why = "there is no teacher" if self.teacher is None else "teacher_checkpoint is trained already"
            raise ValueError(f"teacher_seed={self.teacher_seed} has no effect: {why}")
        return self

    @model_validator(mode="after")
    def _check_normalisation(self, info: ValidationInfo) -> Self:
        if self.normalisation is not None and info.context != STORED:
            channels, expected = len(find_normalisation(self.normalisation).mean), self.spec.channels
            if channels not in {1, expected}:
                fitting = [n for n in normalisation_names() if len(find_normalisation(n).mean) in {1, expected}]
                raise ValueError(
                    f"normalisation={self.normalisation} has {channels} channels and {self.dataset} has {expected}; "
                    f"allowed: {', '.join(fitting)}, or none"
                )
        return self
