"""A whole sweep as data: what to run, how to search, where results go. Free of torch and ray.

Values come from three places, later ones winning: the preset or file, the flags, and ``--set`` for fields of the trial.
A field of the trial that is given is fixed, and thereby taken out of the search.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.errors import ConfigError, config_error, unknown_name
from search_spaces.presets import preset_names, preset_path
from trainables.config import Config, SupervisedConfig, ZeroShotConfig
from trainables.metrics import METRICS

Scalar = str | int | float | bool | None

SHARED_FIELDS = (
    "dataset",
    "teacher",
    "teacher_checkpoint",
    "normalisation",
    "validation_fraction",
    "split_seed",
    "total_pseudo_batches",
    "stop_at_pseudo_batch",
    "evaluation_interval",
)
"""Fields that are the same for all trials of a sweep: which teacher and images they share, and the budget by which early
stopping compares them."""

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]*")


def _check_identifier(value: str) -> str:
    # Ids are folder names and Parquet partition values: readers turn ids of digits into numbers.
    if not _IDENTIFIER.fullmatch(value):
        raise ValueError(f"{value!r}: must begin with a small letter and hold only small letters, digits, - and _")
    return value


Identifier = Annotated[str, AfterValidator(_check_identifier)]


class SamplerConfig(Config):
    """How settings are proposed."""

    name: Literal["tpe", "random"] = "tpe"
    """``tpe``: tree-structured Parzen estimator; ``random``: independent draws."""

    startup_trials: Annotated[int, Field(ge=1)] = 10
    """Random trials before the estimator is used (TPE only)."""


class SchedulerConfig(Config):
    """Which trials are stopped early."""

    name: Literal["asha", "none"] = "asha"
    """``asha``: asynchronous successive halving; ``none``: every trial uses its whole budget."""

    grace: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of a trial's budget before it may be stopped."""

    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """At each rung the best 1/reduction_factor of the trials seen there go on, to this many times the budget."""


class ResourcesConfig(Config):
    """What Ray sets aside for one trial."""

    cpu: Annotated[float, Field(gt=0)] = 1
    """CPU cores; torch uses as many threads."""

    gpu: Annotated[float, Field(ge=0)] = 0
    """GPUs; a fraction lets several trials share one."""

    @field_validator("gpu")
    @classmethod
    def _check_gpu(cls, gpu: float) -> float:
        if gpu > 1 and gpu != int(gpu):
            raise ValueError(f"{gpu} is neither a fraction of one GPU nor a whole number of them")
        return gpu


class SweepConfig(Config):
    """One sweep."""

    name: Identifier
    """Name of the preset; the sweep's id begins with it."""

    description: str = ""
    """What the sweep is for, in a sentence."""

    trial: dict[str, Scalar] = Field(default_factory=dict)
    """Fixed fields of ``ZeroShotConfig``; those not named here or in the space keep their published defaults."""

    space: str | dict[str, Any] = Field(default_factory=dict)
    """What varies: the name of a space, ``FILE.py:FUNCTION``, or ``{field: domain}``."""

    objective: str = "validation_accuracy"
    """Metric that the search optimises and early stopping compares. ``test_accuracy`` is refused: it is an audit."""

    mode: Literal["max", "min"] = "max"
    """Whether the objective is to be large or small."""

    sampler: SamplerConfig = SamplerConfig()
    """How settings are proposed."""

    scheduler: SchedulerConfig = SchedulerConfig()
    """Which trials are stopped early."""

    num_trials: Annotated[int, Field(ge=1)] = 12
    """Trials in all, earlier sessions of the same sweep counted in."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seeds the sampler, and every trial unless ``trial`` fixes its own: trials differ in settings, not in luck."""

    teacher_recipe: SupervisedConfig = SupervisedConfig()
    """How a teacher is trained that is neither a checkpoint nor in the registry."""

    resources: ResourcesConfig = ResourcesConfig()
    """What Ray sets aside for one trial."""

    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a trial whose process died is continued from its last checkpoint before it counts as failed."""

    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60
    """Wall time between two checkpoints of a trial, in seconds; 0: one at each report. The last one is always kept."""

    storage: str = "./runs"
    """Folder or URI for results, checkpoints, teachers and the study."""

    data_root: str = "./data"
    """Folder where torchvision keeps or puts its data sets."""

    @field_validator("objective")
    @classmethod
    def _check_objective(cls, objective: str) -> str:
        known = [metric.name for metric in METRICS if metric.kind is float and metric.name != "test_accuracy"]
        if objective == "test_accuracy":
            raise ValueError("test_accuracy is an audit and selects nothing; use validation_accuracy")
        if objective not in known:
            raise ValueError(unknown_name("objective", objective, known))
        return objective

    @field_validator("storage")
    @classmethod
    def _check_storage(cls, storage: str) -> str:
        parts = urlsplit(storage)
        if parts.scheme not in {"", "file"} and "@" in parts.netloc:
            # Not repeated in the message: it would end up in logs.
            raise PydanticCustomError(
                "secret",
                "the address holds a key; keys are taken from the environment, a profile or the instance's role",
            )
        return storage

    @model_validator(mode="after")
    def _check_trial(self) -> Self:
        self.trial_config({})
        return self

    def trial_config(self, suggestion: Mapping[str, Any]) -> ZeroShotConfig:
        """The config of a trial: published defaults, then the suggestion, then what is fixed.

        Raises:
            ConfigError: a field is unknown or its value not allowed.
        """
        values = {"seed": self.seed, **suggestion, **self.trial}
        try:
            return ZeroShotConfig.model_validate(values)
        except ValidationError as error:
            raise config_error(error, ZeroShotConfig, "trial") from error

    def with_resources(self, **changes: float) -> SweepConfig:
        """The same sweep with other resources for each trial; keys are those of ``ResourcesConfig``."""
        try:
            resources = ResourcesConfig.model_validate({**self.resources.model_dump(), **changes})
        except ValidationError as error:
            raise config_error(error, ResourcesConfig, "resources") from error
        return self.model_copy(update={"resources": resources})

    @property
    def identity(self) -> dict[str, Any]:
        """The part of the config that decides the sweep's numbers. More trials or another place are the same sweep."""
        return self.model_dump(
            exclude={
                "description",
                "num_trials",
                "resources",
                "max_failures",
                "checkpoint_seconds",
                "storage",
                "data_root",
            }
        )

    @property
    def default_sweep_id(self) -> str:
        """``<name>-<hash of the identity>``: the same command means the same sweep."""
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"


def check_sweep_id(sweep_id: str) -> None:
    """Raises: ConfigError: it could not name a folder or would be read as a number."""
    try:
        _check_identifier(sweep_id)
    except ValueError as error:
        raise ConfigError(f"--sweep-id {error}") from error


def load_sweep(
    preset_or_file: str, *, flags: Mapping[str, Any] | None = None, assignments: Iterable[str] = ()
) -> SweepConfig:
    """Read a sweep.

    Args:
        preset_or_file: Name of a preset or path of a YAML file.
        flags: Fields of ``SweepConfig`` that win over the file; those that are ``None`` are left out.
        assignments: ``FIELD=VALUE`` for fields of the trial.

    Raises:
        ConfigError: no such preset or file, or a wrong key or value; the message names it and what is allowed.
    """
    path = Path(preset_or_file)
    if path.suffix not in {".yaml", ".yml"}:
        if preset_or_file not in preset_names():
            raise ConfigError(unknown_name("preset", preset_or_file, preset_names()) + ", or a file ending in .yaml")
        path = preset_path(preset_or_file)
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected fields of a sweep, found {type(content).__name__}")
    content |= {key: value for key, value in (flags or {}).items() if value is not None}
    content["trial"] = _typed_trial(content.get("trial") or {}, _parse_assignments(assignments), str(path))
    try:
        return SweepConfig.model_validate(content)
    except ValidationError as error:
        raise config_error(error, SweepConfig, str(path)) from error


def _parse_assignments(assignments: Iterable[str]) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {}
    for assignment in assignments:
        field, separator, value = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment}: expected FIELD=VALUE, for example temperature=2")
        values[field.strip()] = None if value.strip().lower() in {"none", "null"} else value.strip()
    return values


def _typed_trial(from_file: Mapping[str, Scalar], assigned: Mapping[str, Scalar], path: str) -> dict[str, Scalar]:
    """The fixed fields, each value in its field's type, so that 2, 2.0 and "2" are one setting."""
    trial = {**from_file, **assigned}
    try:
        config = ZeroShotConfig.model_validate(trial)
    except ValidationError as error:
        # Bounds that span two fields have no field of their own; what was said last is then the likelier cause.
        blamed = {str(finding["loc"][0]) if finding["loc"] else "" for finding in error.errors()}
        by_flag = assigned and not blamed & (from_file.keys() - assigned.keys())
        raise config_error(error, ZeroShotConfig, "--set" if by_flag else f"{path}, trial") from error
    return {field: getattr(config, field) for field in trial}
