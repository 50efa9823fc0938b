"""What a sweep can be told, and what follows from what is left out. Free of torch and ray."""

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
"""The first of the metrics by which nothing is selected."""

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]*")


def _check_identifier(value: str) -> str:
    # Ids are folder names and Parquet partition values: readers turn ids of digits into numbers.
    if not _IDENTIFIER.fullmatch(value):
        raise ValueError(f"{value!r}: must begin with a small letter and hold only small letters, digits, - and _")
    return value


def _check_seeds(seeds: list[int]) -> list[int]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{seeds}: at least one seed, and none of them twice")
    return seeds


def _scheduler_of(values: Mapping[str, Any], info: ValidationInfo) -> SchedulerConfig | None:
    """The scheduler, if one is named; what is wrong with its block, the field itself says."""
    try:
        return SCHEDULERS.parse(values["scheduler"], stored=info.context == STORED) if "scheduler" in values else None
    except (ValidationError, PydanticCustomError):
        return None


def _count_trials(values: dict[str, Any], scheduler: SchedulerConfig | None) -> dict[str, Any]:
    """The number of trials that follows from the scheduler, unless it was said otherwise."""
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
    """Refuse what cannot be selected on; of a sweep that has run, only what never could."""
    may_be_audit = info.data.get("allow_test_selection") or info.context == STORED
    known = [metric.name for metric in METRICS if metric.kind is not bool]
    if name in AUDITS and not may_be_audit:
        raise ValueError(
            f"{name} is an audit, measured on test images, and selects nothing; use validation_accuracy, or say "
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
    """What a sweep can be told. Each field is checked by itself; how they go together, ``SweepConfig`` says."""

    name: Annotated[Identifier, SweepRole.NAME]
    """Name of the preset; the sweep's id begins with it."""

    description: Annotated[str, SweepRole.OUTPUT] = ""
    """What the sweep is for, in a sentence."""

    trial: Annotated[Fields, SweepRole.TRIALS] = Field(default={})
    """Fixed fields of ``ZeroShotConfig``, or with ``method: supervised`` of ``SupervisedConfig``; those not named here, in
    the space or in a case keep their published defaults."""

    space: Annotated[str | dict[str, Any], SweepRole.SEARCH] = Field(default={})
    """What varies: the name of a space, ``FILE.py:FUNCTION``, or ``{field: domain}``."""

    search: Annotated[dict[str, Any], SweepRole.SEARCH] = Field(default={})
    """Domains as ``{field: domain}`` that replace those of a named ``space``, or vary a field beside it; ``--search`` fills
    it in."""

    cases: Annotated[dict[CaseName, Fields], SweepRole.SEARCH] = Field(default={})
    """Instead of a space: what is to be compared, each case by name with the fields in which it differs from ``trial``.
    Nothing is searched or stopped early."""

    seeds: Annotated[list[Seed], AfterValidator(_check_seeds), SweepRole.EXTENT] = Field(default=[0])
    """Seeds with which each case is run; more of them later extend the sweep."""

    only: Annotated[list[str], SweepRole.EXTENT] = Field(default=[])
    """Cases to run now; none named: all."""

    scale: Annotated[float, Field(gt=0, le=1), SweepRole.TRIALS] = 1.0
    """Share of every trial's budget that is run. Zero-shot trials keep the learning rates of the whole budget, so that
    they lie on its learning curve; supervised training, of teachers too, is compressed."""

    budget: Annotated[BudgetConfig | None, SweepRole.SEARCH] = None
    """What the sweep may spend, and what is held equal between the zero-shot trials of a search; none: their
    ``total_pseudo_batches``. A trial's own ``total_pseudo_batches`` goes before it."""

    allow_test_selection: Annotated[bool, SweepRole.PERMISSION] = False
    """Lets what is measured on test images, ``test_accuracy`` or ``mean_transition_error``, be an objective or a constraint,
    as papers do that have no validation part; leaderboard, report and confirmation then say so."""

    objective: Annotated[str | None, SweepRole.SEARCH] = "validation_accuracy"
    """Metric that the search optimises and early stopping compares. What is measured on test images is an audit, and
    refused unless ``allow_test_selection`` is set. None, where there are cases: nothing is selected."""

    mode: Annotated[Mode, SweepRole.SEARCH] = "max"
    """Whether the objective is to be large or small. Nothing said: small for errors, divergences and costs."""

    further_objectives: Annotated[dict[str, Mode], SweepRole.SEARCH] = Field(default={})
    """Metrics that the search optimises beside the objective, each with its mode, for example ``{training_flops: min}``.
    What it finds is then a Pareto front; early stopping compares the objective alone."""

    constraints: Annotated[dict[str, BoundConfig], SweepRole.SEARCH] = Field(default={})
    """Metrics that must lie within bounds at a trial's end, for example ``{training_flops: {at_most: 1.0e+15}}``. Trials
    outside come after all others, and the sampler learns from it."""

    warm_start: Annotated[list[Identifier], SweepRole.SEARCH] = Field(default=[])
    """Sweeps on the same storage whose completed trials inform the sampler from the beginning, if it can learn from them."""

    sampler: Annotated[AnySampler, SweepRole.SEARCH] = Tpe()
    """How settings are proposed."""

    scheduler: Annotated[AnyScheduler, SweepRole.SEARCH] = Asha()
    """Which trials are stopped early."""

    num_trials: Annotated[int, Field(ge=1), SweepRole.EXTENT] = 12
    """Trials in all, earlier sessions of the same sweep counted in. Of cases their number follows; where nothing varies
    it is 1."""

    seed: Annotated[int, Field(ge=0, lt=2**63), SweepRole.SEARCH] = 0
    """Seeds the sampler, and every trial unless ``trial`` fixes its own: trials differ in settings, not in luck. Cases have
    their ``seeds`` instead."""

    teacher_recipe: Annotated[Fields, SweepRole.TRIALS] = Field(default={})
    """How a teacher is trained that is neither a checkpoint nor in the registry: fields of ``SupervisedConfig`` in which
    its training differs from the published recipe."""

    teachers: Annotated[dict[str, str], SweepRole.TRIALS] = Field(default={})
    """Files with published weights, by architecture: the ``teacher_checkpoint`` of every trial with that teacher."""

    resources: Annotated[ResourcesConfig, SweepRole.EXECUTION] = ResourcesConfig()
    """What Ray sets aside for one trial."""

    max_failures: Annotated[int, Field(ge=0), SweepRole.EXECUTION] = 3
    """How often a trial whose process died is continued from its last checkpoint before it counts as failed."""

    hung: Annotated[HungConfig, SweepRole.EXECUTION] = HungConfig()
    """When a trial counts as hung, which uses up one of its ``max_failures``."""

    checkpoint_seconds: Annotated[float, Field(ge=0), SweepRole.EXECUTION] = 60
    """Wall time between two checkpoints of a trial, in seconds; 0: one at each report. The last one is always kept."""

    checkpoints_kept: Annotated[int, Field(ge=2), SweepRole.EXECUTION] = 2
    """Checkpoints of each trial that are kept, the newest ones: at least 2, so that a damaged one has a predecessor."""

    storage: Annotated[StorageConfig, SweepRole.EXECUTION] = StorageConfig()
    """Where results, checkpoints, teachers and the study are kept: a folder, an address, or a block of fields."""

    notify: Annotated[SecretStr | None, Field(exclude=True), SweepRole.OUTPUT] = None
    """Webhook that is told when a session ends or fails, as JSON ``{"text": ...}``, which Slack and its likes take; or
    ``$NAME`` for a variable of the environment; none: ``$ZSKT_NOTIFY``, if it is set. It is a secret, and not kept with the
    results."""

    prices: Annotated[str | None, SweepRole.EXECUTION] = None
    """File with what machines cost, in the shape of ``cluster/prices.yaml``, whose prices its own go before; none: those."""

    tensorboard: Annotated[bool, SweepRole.OUTPUT] = False
    """Write TensorBoard files too, below ``<storage>/tensorboard/<id>``, or where that is no local folder, below
    ``./tensorboard/<id>``."""

    data_root: Annotated[str, SweepRole.EXECUTION] = "./data"
    """Folder where torchvision keeps or puts its data sets."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a field without a role."""
        super().__pydantic_init_subclass__(**kwargs)
        sweep_roles(cls)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_cases(cls, values: Any, info: ValidationInfo) -> Any:
        """What follows from a list of cases need not be said, and must not be said otherwise."""
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
                raise ValueError(f"{field}={name}: a sweep of cases selects nothing and stops nothing; leave it out")
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
        """Ask every trial for what the search selects on, where that is only measured if asked for.

        Such are data-free scores, latencies, and metrics of a user's own. So does whoever runs its trials again.
        """
        if not isinstance(values, dict):
            return values
        trial = values.get("trial") or {}
        if not isinstance(trial, dict):
            return values  # what is no name or no mapping is refused by its own field
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
            # Not repeated in the message: it would end up in logs.
            raise PydanticCustomError("secret", "expected a webhook's address, https://..., or $NAME of a variable")
        return notify


def check_sweep_id(sweep_id: str) -> None:
    """Raises: ConfigError: it could not name a folder or would be read as a number."""
    try:
        _check_identifier(sweep_id)
    except ValueError as error:
        raise ConfigError(f"--sweep-id {error}") from error
