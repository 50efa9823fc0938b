"""The fields of a sweep's config, with their defaults and the checks of single fields. Free of torch and Ray."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.config.blocks import (
    BoundConfig,
    HungConfig,
    ResourcesConfig,
    Scalar,
    StorageConfig,
)
from orchestrator.config.budget import BudgetConfig
from orchestrator.config.roles import SweepRole, sweep_roles
from orchestrator.errors import ConfigError, unknown_name
from orchestrator.samplers.registry import AnySampler
from orchestrator.samplers.tpe import Tpe
from orchestrator.schedulers.asha import Asha
from orchestrator.schedulers.base import SchedulerConfig
from orchestrator.schedulers.none import NoEarlyStopping
from orchestrator.schedulers.registry import SCHEDULERS, AnyScheduler
from trainables.config import Config, Seed
from trainables.config.plugins import STORED
from trainables.config.trial import OTHER_METRICS, is_own_metric
from trainables.config.zero_shot import split_attention_layers
from trainables.metrics import AUDITS, LOWER_IS_BETTER, METRICS

TEST_ACCURACY = "test_accuracy"
"""Name of the main audit metric: it is measured, but never selected on unless ``allow_test_selection`` is set."""

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]*")


def _check_identifier(value: str) -> str:
    # Ids are folder names and Parquet partition values: readers turn ids of digits into numbers.
    if not _IDENTIFIER.fullmatch(value):
        raise ValueError(f"{value!r}: must begin with a small letter and contain only small letters, digits, - and _")
    return value


def _check_seeds(seeds: list[int]) -> list[int]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{seeds}: expected at least one seed, and no seed twice")
    return seeds


def _scheduler_of(values: Mapping[str, Any], info: ValidationInfo) -> SchedulerConfig | None:
    """Return the scheduler if the values name a valid one, else None: the field's own check reports errors of the block."""
    try:
        return SCHEDULERS.parse(values["scheduler"], stored=info.context == STORED) if "scheduler" in values else None
    except (ValidationError, PydanticCustomError):
        return None


def _count_trials(values: dict[str, Any], scheduler: SchedulerConfig | None) -> dict[str, Any]:
    """Return the values with the number of trials that the scheduler dictates, if it dictates one.

    Raises:
        ValueError: ``num_trials`` is given and differs.
    """
    trials = scheduler.num_trials if scheduler else None
    if trials is None:
        return values
    if values.get("num_trials", trials) != trials:
        raise ValueError(
            f"num_trials={values['num_trials']}: population-based training has population x generations = {trials} trials; "
            "leave num_trials out"
        )
    return {**values, "num_trials": trials}


def _check_metric(name: str, info: ValidationInfo) -> None:
    """Refuse a metric that cannot be selected on. A stored sweep may select on audits and on metrics that are missing.

    Raises:
        ValueError: the metric is an audit or unknown.
    """
    may_be_audit = info.data.get("allow_test_selection") or info.context == STORED
    known = [metric.name for metric in METRICS if metric.kind is not bool]
    if name in AUDITS and not may_be_audit:
        raise ValueError(
            f"{name} is an audit, measured on test images, and cannot be selected on; use validation_accuracy, or set "
            "allow_test_selection: true"
        )
    if name in known:
        return
    if not is_own_metric(name):
        what = str(info.field_name) if info.field_name == "objective" else f"metric of {info.field_name}"
        known = [name for name in known if name not in AUDITS]
        raise ValueError(f"{unknown_name(what, name, known)}, or FILE.py:NAME")
    if info.context != STORED:
        OTHER_METRICS.check(name)


Identifier = Annotated[str, AfterValidator(_check_identifier)]
CaseName = Identifier
Fields = Annotated[dict[str, Scalar], BeforeValidator(split_attention_layers)]
Mode = Literal["max", "min"]


class SweepFields(Config):
    """The fields of a sweep. Each field is checked on its own here; ``SweepConfig`` checks how they fit together."""

    name: Annotated[Identifier, SweepRole.NAME]
    """Name of the preset; the sweep's id begins with it."""

    description: Annotated[str, SweepRole.OUTPUT] = ""
    """Purpose of the sweep, in one sentence."""

    trial: Annotated[Fields, SweepRole.TRIALS] = Field(default={})
    """Fixed fields of ``ZeroShotConfig``, or with ``method: supervised`` of ``SupervisedConfig``. Fields that are named
    neither here nor in the space or a case keep their published defaults."""

    space: Annotated[str | dict[str, Any], SweepRole.SEARCH] = Field(default={})
    """Search space: the name of one, ``FILE.py:FUNCTION``, or ``{field: domain}``."""

    search: Annotated[dict[str, Any], SweepRole.SEARCH] = Field(default={})
    """Domains as ``{field: domain}`` that replace or extend those of a named ``space``. ``--search`` sets this field."""

    cases: Annotated[dict[CaseName, Fields], SweepRole.SEARCH] = Field(default={})
    """Cases to compare, instead of a space: by name, the fields in which each case differs from ``trial``. Nothing is
    searched or stopped early."""

    seeds: Annotated[list[Seed], AfterValidator(_check_seeds), SweepRole.EXTENT] = Field(default=[0])
    """Seeds with which each case runs; adding seeds later extends the sweep."""

    only: Annotated[list[str], SweepRole.EXTENT] = Field(default=[])
    """Cases to run now. An empty list means all."""

    scale: Annotated[float, Field(gt=0, le=1), SweepRole.TRIALS] = 1.0
    """Share of each trial's budget to run. Zero-shot trials keep the learning rates of the whole budget, so that their
    results lie on its learning curve; supervised training, including that of teachers, is compressed."""

    budget: Annotated[BudgetConfig | None, SweepRole.SEARCH] = None
    """Limits on what the sweep may spend, and the budget that is equal for all zero-shot trials of a search. None means
    equal ``total_pseudo_batches``. A ``total_pseudo_batches`` in ``trial`` overrides the budget."""

    allow_test_selection: Annotated[bool, SweepRole.PERMISSION] = False
    """Allow metrics of test images, ``test_accuracy`` and ``mean_transition_error``, as objectives and constraints, as in
    papers without a validation part. Leaderboard, report and confirmation then say so."""

    objective: Annotated[str | None, SweepRole.SEARCH] = "validation_accuracy"
    """Metric that the search optimises and early stopping compares. Metrics of test images are audits, and refused unless
    ``allow_test_selection`` is set. Always None for a sweep of cases, which selects nothing."""

    mode: Annotated[Mode, SweepRole.SEARCH] = "max"
    """Whether the objective is maximised or minimised. If not given, errors, divergences and costs are minimised."""

    further_objectives: Annotated[dict[str, Mode], SweepRole.SEARCH] = Field(default={})
    """Metrics that the search optimises beside the objective, each with its mode, for example ``{training_flops: min}``.
    The search then finds a Pareto front; early stopping compares the objective only."""

    constraints: Annotated[dict[str, BoundConfig], SweepRole.SEARCH] = Field(default={})
    """Metrics that must lie within bounds at a trial's end, for example ``{training_flops: {at_most: 1.0e+15}}``. Trials
    that violate a bound rank after all others, and the sampler learns from violations."""

    warm_start: Annotated[list[Identifier], SweepRole.SEARCH] = Field(default=[])
    """Sweeps on the same storage from whose completed trials the sampler learns before its first proposal."""

    sampler: Annotated[AnySampler, SweepRole.SEARCH] = Tpe()
    """Sampler, which proposes settings."""

    scheduler: Annotated[AnyScheduler, SweepRole.SEARCH] = Asha()
    """Scheduler, which stops trials early."""

    num_trials: Annotated[int, Field(ge=1), SweepRole.EXTENT] = 12
    """Total number of trials, including those of earlier sessions. For cases it follows from their number and seeds; if
    nothing is searched it is 1."""

    seed: Annotated[int, Field(ge=0, lt=2**63), SweepRole.SEARCH] = 0
    """Seed of the sampler, and of every trial unless ``trial`` fixes another: trials then differ in their settings, not in
    chance. A sweep of cases has ``seeds`` instead."""

    teacher_recipe: Annotated[Fields, SweepRole.TRIALS] = Field(default={})
    """Fields of ``SupervisedConfig`` in which the training of a teacher differs from the published recipe. Used for teachers
    that are neither a checkpoint nor in the registry."""

    teachers: Annotated[dict[str, str], SweepRole.TRIALS] = Field(default={})
    """Files of published weights by network: the ``teacher_checkpoint`` of every trial with that teacher."""

    resources: Annotated[ResourcesConfig, SweepRole.EXECUTION] = ResourcesConfig()
    """Resources that Ray reserves for each trial."""

    max_failures: Annotated[int, Field(ge=0), SweepRole.EXECUTION] = 3
    """How often a trial is resumed from its last checkpoint after its process died, before the trial counts as failed."""

    hung: Annotated[HungConfig, SweepRole.EXECUTION] = HungConfig()
    """When a trial counts as hung, which uses up one of its ``max_failures``."""

    checkpoint_seconds: Annotated[float, Field(ge=0), SweepRole.EXECUTION] = 60
    """Wall time between two checkpoints of a trial, in seconds. 0 means a checkpoint at each report. The last checkpoint is
    always kept."""

    checkpoints_kept: Annotated[int, Field(ge=2), SweepRole.EXECUTION] = 2
    """How many of the newest checkpoints of each trial are kept: at least 2, so that a damaged one has a predecessor."""

    storage: Annotated[StorageConfig, SweepRole.EXECUTION] = StorageConfig()
    """Where results, checkpoints, teachers and the study are kept: a folder, an address, or a block of fields."""

    notify: Annotated[SecretStr | None, Field(exclude=True), SweepRole.OUTPUT] = None
    """Webhook that receives JSON ``{"text": ...}``, as Slack and similar services accept, when a session ends or fails; or
    ``$NAME`` for an environment variable that holds its address. None means ``$ZSKT_NOTIFY``, if it is set. The address is
    a secret, and is not stored with the results."""

    prices: Annotated[str | None, SweepRole.EXECUTION] = None
    """File of machines' prices in the format of ``cluster/prices.yaml``, which it overrides. None means that file alone."""

    tensorboard: Annotated[bool, SweepRole.OUTPUT] = False
    """Whether to write TensorBoard files too, below ``<storage>/tensorboard/<id>``, or below ``./tensorboard/<id>`` if the
    storage is no local folder."""

    data_root: Annotated[str, SweepRole.EXECUTION] = "./data"
    """Folder of torchvision's data sets, to which missing ones are downloaded."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a field without a role."""
        super().__pydantic_init_subclass__(**kwargs)
        sweep_roles(cls)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_cases(cls, values: Any, info: ValidationInfo) -> Any:
        """Fill in the fields that follow from the cases or the scheduler, and refuse fields that contradict them."""
        if not isinstance(values, dict):
            return values
        scheduler = _scheduler_of(values, info)
        if not values.get("cases"):
            values = _count_trials(values, scheduler)
            for field in ("only", "seeds"):
                if values.get(field) and values[field] != [0]:
                    raise ValueError(f"{field}={values[field]}: is for sweeps of cases, and this one is a search")
            return values
        compared_by = scheduler.name if scheduler and scheduler.compares_midway else None
        for field, name in (("objective", values.get("objective")), ("scheduler", compared_by)):
            if name is not None:
                raise ValueError(
                    f"{field}={name}: a sweep of cases has no objective and no early stopping; leave it out"
                )
        values = {"objective": None, "scheduler": NoEarlyStopping(), **values}
        if values.get("space"):
            raise ValueError("cases and space exclude each other")
        wanted = values.get("only") or values["cases"]
        unknown = [name for name in wanted if name not in values["cases"]]
        if unknown:
            raise ValueError(unknown_name("case", unknown[0], values["cases"]))
        if values.get("only"):
            values = {**values, "only": [name for name in values["cases"] if name in wanted]}
            wanted = values["only"]
        return {**values, "num_trials": len(wanted) * len(values.get("seeds", [0]))}

    @model_validator(mode="before")
    @classmethod
    def _know_the_better_side(cls, values: Any) -> Any:
        objective = values.get("objective") if isinstance(values, dict) else None
        return {"mode": "min", **values} if isinstance(objective, str) and objective in LOWER_IS_BETTER else values

    @model_validator(mode="before")
    @classmethod
    def _ask_for_measurements(cls, values: Any) -> Any:
        """Set the trial fields that switch on the metrics that the search selects on, if these are not always measured.

        Such metrics are data-free scores, latencies, and metrics of the user's own. The set fields become part of the
        trials' settings, so that a trial that is run again measures the same metrics.
        """
        if not isinstance(values, dict):
            return values
        trial = values.get("trial") or {}
        if not isinstance(trial, dict):
            return values  # the field's own check refuses a value of a wrong type
        named = [values.get("objective")]
        for field in ("further_objectives", "constraints"):
            named += values[field] if isinstance(values.get(field), dict) else []
        asked = {m.asked_by: True for m in METRICS if m.asked_by is not None and m.name in named}
        trial = {**asked, **trial}
        own = [name for name in named if isinstance(name, str) and is_own_metric(name)]
        if own:
            before = [name.strip() for name in str(trial.get("metrics") or "").split(",") if name.strip()]
            trial = {**trial, "metrics": ",".join(dict.fromkeys([*before, *own]))}
        return {**values, "trial": trial} if trial else values

    @field_validator("objective")
    @classmethod
    def _check_objective(cls, objective: str | None, info: ValidationInfo) -> str | None:
        if objective is not None:
            _check_metric(objective, info)
        return objective

    @field_validator("further_objectives", "constraints")
    @classmethod
    def _check_metrics(cls, metrics: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for name in metrics:
            _check_metric(name, info)
        return metrics

    @field_validator("notify")
    @classmethod
    def _check_notify(cls, notify: SecretStr | None) -> SecretStr | None:
        if notify and not notify.get_secret_value().startswith(("https://", "http://", "$")):
            # The message does not repeat the secret, since messages end up in logs.
            raise PydanticCustomError("secret", "expected a webhook's address, https://..., or $NAME of a variable")
        return notify


def check_sweep_id(sweep_id: str) -> None:
    """Check the id of a sweep, which becomes the name of a folder and a partition value of Parquet files.

    Raises:
        ConfigError: the id cannot name a folder, or could be read as a number.
    """
    try:
        _check_identifier(sweep_id)
    except ValueError as error:
        raise ConfigError(f"--sweep-id {error}") from error
