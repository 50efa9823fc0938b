"""Fields that every trial has, whatever its method.

"Section N" in this package refers to a section of the page ``docs/method.md``. Configs are flat and their values scalar, so
that a config fits into one row of the results table.
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
"""Type of the field ``method`` in a user's own config: the value is the ``FILE.py:NAME`` or the name of the entry point."""

OTHER_METRICS = Registry(what="metric", group="zskt.metrics", own={})
"""Metrics from files and installed packages: functions that take a ``trainables.training.reports.Measured``, return a number
and leave the training unchanged."""

_METRIC_NAMES = {metric.name for metric in METRICS}
"""Names of this project's metrics, which need not be requested."""


def is_own_metric(name: str) -> bool:
    """Return whether a metric comes from a file or package; this project's names take precedence."""
    return name not in _METRIC_NAMES and is_foreign(OTHER_METRICS.group, name)


def _check_metrics(names: str) -> str:
    """Return a comma-separated list of metrics as it is stored: without spaces and duplicates.

    Raises:
        ValueError: a metric is unknown, or is one of this project's, which are measured anyway.
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
    """Shortened trials from which the time of a trial's step is estimated, where a whole step takes too long to be timed."""

    short: TrialConfig
    """Version of the trial with the fewest repetitions in a step."""

    longer: TrialConfig
    """Version of the trial with one repetition more in a step than ``short``."""

    repeats: int
    """Number of repetitions that a step of the trial itself has beyond those of ``short``."""

    whole_units: bool = False
    """Whether steps are unequal, so that all steps of one ``unit`` of ``short`` are timed together; the time of a unit of
    the trial itself is then estimated in proportion to its number of operations."""


class TrialConfig(Config):
    """Settings that every trial has, whatever its method: images to measure on, a student, an optional teacher, seeds."""

    unit: ClassVar[str]
    """Unit of the trial's budget; also the name of the metric that counts how much of the budget is used."""

    budget_field: ClassVar[str | None] = None
    """Name of the field that holds the budget, so that a sweep can give each trial a budget of its own. None if the budget
    follows from other fields."""

    divisible: ClassVar[bool] = False
    """Whether a trial can be trained in parts, each a trial with settings of its own (see ``part``)."""

    dataset: Annotated[str, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)] = "cifar10"
    """Data set on which the teacher was trained and on which the student's accuracy is measured: ``cifar10``, ``cifar100``,
    ``svhn``, ``mnist``, ``fashion_mnist``, ``digits``, or one from an installed package. Also the address of a Parquet file
    that has the data set's name, such as ``s3://.../cifar10.parquet``. A folder, archive or Parquet file with any other name
    holds images of your own. ``none`` means that there are no images."""

    dataset_file: Annotated[str | None, location(names=Names.IMAGES)] = None
    """Path or address of a Parquet file with the data set, as written by ``zskt dataset export``, or of images of your own.
    None means torchvision's files in ``data_root``."""

    image_size: Annotated[ImageSizeText | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)] = None
    """Height and width of all images in pixels, each 16 to 224: ``28``, or ``48x40``. Real images of another size are
    resized; pseudo images are generated in this size. None means the data set's own size, 32x32 for the named data sets."""

    channels: Annotated[
        Annotated[int, Field(ge=1, le=4)] | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)
    ] = None
    """Channels of images of your own: 1 is grey, 2 grey and alpha, 3 colour, 4 colour and alpha. A value converts all images
    to that number of channels; without one the number is read from the images. None for a named data set."""

    num_classes: Annotated[
        Annotated[int, Field(ge=2)] | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)
    ] = None
    """Number of classes of images of your own, read from the images; with ``dataset: none`` the teacher's number of classes.
    None for a named data set."""

    training_images: Annotated[
        Annotated[int, Field(ge=0)] | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)
    ] = None
    """Number of training images among images of your own, including the validation part; read from the images. None for a
    named data set."""

    test_images: Annotated[
        Annotated[int, Field(ge=1)] | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)
    ] = None
    """Number of test images among images of your own; read from the images. None for a named data set."""

    dataset_sha256: Annotated[str | None, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=True)] = None
    """SHA-256 checksum of images of your own, read from the images: other images under the same name count as another data
    set. None for a named data set."""

    student: Annotated[NetworkName, setting(cost=Cost.EQUAL, inherited=True)] = "wrn-16-1"
    """Architecture of the student, the network that is trained: ``lenet``, ``lenet-bn``, ``resnet-18``, ``resnet-34``,
    ``wrn-D-K``, ``torchvision:NAME``, ``timm:NAME``, or your own."""

    teacher: Annotated[NetworkName | None, given(cost=Cost.EQUAL, names=Names.TEACHER, inherited=True)] = None
    """Architecture of the frozen teacher: ``lenet``, ``lenet-bn``, ``resnet-18``, ``resnet-34``, ``wrn-D-K``,
    ``torchvision:NAME``, ``timm:NAME``, or your own. None means no teacher."""

    teacher_checkpoint: Annotated[str | None, given(cost=Cost.NONE, names=Names.TEACHER, inherited=True)] = None
    """File with published teacher weights, saved by ``torch.save`` or as safetensors, in any layout whose names and shapes
    fit the architecture in one way only. None means a teacher that this program trains, once for each recipe, and keeps."""

    normalisation: Annotated[NormalisationName | None, given(cost=Cost.NONE, names=Names.TEACHER, inherited=True)] = (
        None
    )
    """Normalisation of real images that the teacher expects: the name of a data set, ``half`` for mean and standard
    deviation 0.5, ``unit`` for pixels in [0, 1], ``imagenet``, or numbers as MEAN:STD such as
    ``0.49,0.48,0.45:0.2,0.2,0.2``. Defaults to the data set's own; for images of your own to mean and standard deviation of
    the training images, but with ``teacher_checkpoint`` the field is then required."""

    teacher_seed: Annotated[Seed | None, random_seed(names=Names.TEACHER, inherited=True)] = None
    """Seed of the training of a teacher that this program trains. None means the seed of ``teacher_recipe``."""

    seed: Annotated[Seed, random_seed(names=Names.NOTHING, inherited=False)] = 0
    """Seed of everything random in the trial; each purpose has a random stream of its own derived from it."""

    batch_size: Annotated[int, Field(ge=2), setting(cost=Cost.EQUAL, inherited=False)] = PUBLISHED_BATCH_SIZE
    """Images per optimizer update; at least 2, since BatchNorm in train mode needs as many."""

    evaluation_interval: Annotated[Count | None, measurement(cost=Cost.AMOUNT, told_by=None)] = None
    """Pseudo batches between two reports; epochs with ``method: supervised``. Defaults to a hundredth of the budget, as
    published. In short zero-shot trials the default is longer, so that measuring takes no more than a twentieth of the work,
    but never longer than a tenth of the budget."""

    validation_fraction: Annotated[Share, given(cost=Cost.EQUAL, names=Names.IMAGES, inherited=False)] = 0.1
    """Share of the training split that is set aside as validation part, stratified by class, to select trials on. No network
    trained by this program sees these images. 0, as published, sets nothing aside; there is then no validation accuracy."""

    split_seed: Annotated[Seed, given(cost=Cost.NONE, names=Names.IMAGES, inherited=False)] = 0
    """Seed of the random choice of the training images that form the validation part."""

    transition_images: Annotated[int, Field(ge=0), measurement(cost=Cost.EQUAL, told_by="transition_images")] = 0
    """Number of test images from which transition curves are computed when the trial is complete (section 4; 1,000 in the
    paper). 0 means no transition curves."""

    metrics: Annotated[
        Annotated[str, checked(_check_metrics)] | None,
        measurement(cost=Cost.EQUAL, told_by="metrics"),
        Column.WHERE_GIVEN,
    ] = None
    """Metrics of your own that are measured at each report in addition to this project's: ``FILE.py:NAME``, or names from an
    installed package, separated by commas. None means no such metrics. An objective or constraint of your own is added
    automatically."""

    student_timed: Annotated[bool, measurement(cost=Cost.NONE, told_by="student_latency")] = False
    """Whether the student's forward pass over one image and over 128 images is timed on the trial's machine: the metrics
    ``student_latency`` and ``student_latency_128``. A sweep that selects on one of these metrics turns this field on
    automatically."""

    # Each of this project's methods narrows the type to the method's own name.
    method: MethodName

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a method whose config has a field without a role."""
        super().__pydantic_init_subclass__(**kwargs)
        roles_of(cls)

    @classmethod
    def method_names(cls) -> tuple[str, ...]:
        """Return the names of this project's methods whose metrics a trial reports: its own and those that it extends."""
        kinds = (base for base in cls.__mro__ if issubclass(base, TrialConfig))
        return tuple(
            kind.model_fields["method"].default for kind in kinds if not kind.model_fields["method"].is_required()
        )

    @property
    @abstractmethod
    def budget(self) -> int:
        """The budget of the trial, in ``unit``."""

    @property
    def report_interval(self) -> int:
        """Interval between two reports in ``unit``, at least 1."""
        return self.evaluation_interval or max(1, self.budget // 100)

    @property
    def units_before_learning(self) -> int:
        """Length of the initial phase in which the student does not learn and no report is made, in ``unit``."""
        return 0

    @property
    def reports(self) -> int:
        """Number of reports of a whole trial, including the last one at the end of the budget."""
        before = self.units_before_learning // self.report_interval
        return max(1, math.ceil(self.budget / self.report_interval) - before)

    def next_report(self, reported: int) -> int:
        """Return the point of the next report, in ``unit`` from the beginning of the trial.

        Args:
            reported: Point of the last report in ``unit``; 0 if there has been none.
        """
        before = max(reported, self.units_before_learning)
        return min((before // self.report_interval + 1) * self.report_interval, self.budget)

    @abstractmethod
    def scaled(self, fraction: float) -> Self:
        """Return this trial with a fraction, in (0, 1], of its budget.

        A shortened trial makes about ten reports, unless ``evaluation_interval`` is set.
        """

    @property
    def reads_images(self) -> bool:
        """Whether the trial uses real images or labels at all, for training or for measuring."""
        return True

    @property
    def learns_from_images(self) -> bool:
        """Whether the student is trained on real images."""
        return False

    @property
    def is_scored(self) -> bool:
        """Whether the student is scored on a probe set, which is made from the teacher alone."""
        return False

    @property
    def needs_bfloat16(self) -> bool:
        """Whether the trial requires a machine with instructions for bfloat16."""
        return False

    @property
    def attention_layers(self) -> tuple[str | None, str | None]:
        """Names of the modules of student and teacher that attention transfer compares; None means the network's default."""
        return None, None

    def compiles_on(self, device: str) -> bool:
        """Return whether torch is to compile the loop on a device, ``cpu`` or ``cuda``."""
        return False

    @property
    def starts_from(self) -> str | None:
        """``SWEEP/TRIAL`` of the student from whose weights this trial's student starts; None means fresh weights."""
        return None

    @property
    def takes_over_from(self) -> str | None:
        """Trial of the same sweep from whose last state this trial starts; None means a fresh start."""
        return None

    def from_scratch(self) -> Self:
        """Return this trial with a fresh student."""
        return self

    def part(self, until: int, *, takes_over_from: str | None = None) -> Self:
        """Return a trial that is one part of this trial, with the learning rates and report interval of the whole.

        Args:
            until: End of the part, in ``unit``.
            takes_over_from: Trial that trained the preceding part. Defaults to none.

        Raises:
            TypeError: the method is not ``divisible``.
        """
        raise TypeError(f"method={self.method}: a trial cannot be trained in parts")

    @property
    def own_metrics(self) -> tuple[str, ...]:
        """Names of the metrics from files and packages; their columns have the same names."""
        return tuple(self.metrics.split(",")) if self.metrics else ()

    @property
    def steps_per_unit(self) -> int:
        """Number of calls of ``Training.step`` per ``unit`` of the budget."""
        return 1

    @property
    def student_updates_per_unit(self) -> float:
        """Mean number of optimizer updates of the student per ``unit``, over the whole budget."""
        return self.steps_per_unit

    @property
    @abstractmethod
    def passes_per_step(self) -> Passes:
        """Work of one step, without anything that an implementation may compute twice."""

    @property
    def generator_size(self) -> tuple[int, int] | None:
        """Input length and width of the generator; None for a method without a generator."""
        return None

    @property
    def timing_probe(self) -> TimingProbe:
        """Shortened trials from which the time of a step is estimated."""
        config = self.from_scratch()
        return TimingProbe(short=config, longer=config, repeats=0)

    @model_validator(mode="before")
    @classmethod
    def _split_address(cls, values: Any) -> Any:
        """Replace an address in ``dataset`` by a name (own images: that of the folder or file) and ``dataset_file``."""
        return {**values, **split_address(values)} if isinstance(values, Mapping) else values

    @property
    def has_own_images(self) -> bool:
        """Whether the images belong to no named data set, so that the config itself describes the images."""
        return self.num_classes is not None

    @property
    def spec(self) -> DatasetSpec:
        """Description of the images, with the image size of this trial."""
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
        """Key of the images: trials with equal keys share one copy of the images."""
        return SplitsKey(**{field: getattr(self, field) for field in SplitsKey._fields})

    @property
    def teacher_key(self) -> TeacherKey | None:
        """Key of the teacher: trials with equal keys share one teacher. None if there is no teacher."""
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
