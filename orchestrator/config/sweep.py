"""``SweepConfig``: a whole sweep as data, with what to run, how to search and where results go. Free of torch and Ray.

Values come from three places: the preset or file, the flags, and ``--set`` for fields of the trial. Later places win. A
field of the trial that is given is fixed, and therefore not searched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from pydantic import PrivateAttr, ValidationError, ValidationInfo, model_validator

from orchestrator.config.blocks import ResourcesConfig, check_address
from orchestrator.config.budget import TrialBudget
from orchestrator.config.checks import check_grid, check_selection, check_starting_cases, check_teachers
from orchestrator.config.fields import Mode, SweepFields
from orchestrator.config.messages import config_error
from orchestrator.config.roles import IDENTITY, SweepRole, sweep_fields
from orchestrator.config.spaces import settings_within
from orchestrator.errors import ConfigError, naming
from trainables.config import (
    AnyTrialConfig,
    SupervisedConfig,
    TrialConfig,
    config_class,
    methods_with,
    permission_fields,
)
from trainables.config.methods import AbsentConfig, config_classes, readable
from trainables.config.plugins import STORED
from trainables.errors import TrialError
from trainables.metrics import AUDITS
from trainables.system.own_files import distrust

BASELINE = "baseline"
"""Name of the case with which the other cases of a sweep are compared."""

CASE_PREFIX = "case:"
"""Prefix of an ``initial_student`` that names a case of the same sweep."""

SHORTEST_TEACHER_EPOCHS = 10
"""Least epochs for which a scaled sweep trains a teacher, since students of an untrained teacher would measure nothing."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One trial of a sweep of cases: its case and its seed."""

    case: str
    seed: int


@dataclass(frozen=True)
class _Reading:
    """How a sweep was read. It has no part in comparing two sweeps."""

    context: object = field(default=None, compare=False)
    """Pydantic's validation context of the sweep, with which its trials are validated too."""


class SweepConfig(SweepFields):
    """One sweep: a search over a space, or a list of cases, each with several seeds."""

    _reading: _Reading = PrivateAttr(default=_Reading())

    @model_validator(mode="after")
    def _check_trials(self, info: ValidationInfo) -> Self:
        self._reading = _Reading(info.context)
        configs = self.configs()
        for config in configs:
            for file in (config.dataset_file, config.teacher_checkpoint):
                check_address(file or "")
            # The teacher's training and the selection of a stored sweep were checked when it began; its files may be gone.
            if config.teacher is not None and config.teacher_checkpoint is None and info.context != STORED:
                self.teacher_config(config)
        check_teachers(self, configs)
        check_grid(self)
        if info.context != STORED:
            check_selection(self, self.selects_on, configs[0])
        with naming(f"scheduler {self.scheduler.name}", passing=(ValueError,)):
            self.scheduler.check(configs[0], equal_budget=self.equal_budget is not None, sampler=self.sampler)
        check_starting_cases(self, {case: self.starting_case(case) for case in self.cases})
        return self

    @classmethod
    def stored(cls, text: str) -> Self:
        """Read a sweep from the JSON that a session stored. Files and packages that the sweep names may be missing."""
        distrust(json.loads(text))
        return cls.model_validate_json(text, context=STORED)

    @property
    def directions(self) -> dict[str, Mode]:
        """All objectives with their modes, first the objective of early stopping; empty for a sweep of cases."""
        return {self.objective: self.mode, **self.further_objectives} if self.objective else {}

    @property
    def selects_on(self) -> set[str]:
        """The metrics by which a search selects trials: those of all objectives and constraints."""
        return {*self.directions, *self.constraints}

    @property
    def selects_on_test(self) -> bool:
        """Whether a metric of ``selects_on`` is measured on test images, which then no longer serve as an audit."""
        return not self.selects_on.isdisjoint(AUDITS)

    def merit(self, value: float) -> float:
        """Return a value of the objective with its sign set so that larger is better."""
        return value if self.mode == "max" else -value

    def violations(self, report: Mapping[str, Any]) -> dict[str, float]:
        """Return by how much a trial violates each constraint; see ``BoundConfig.violation``."""
        return {name: bound.violation(report.get(name)) for name, bound in self.constraints.items()}

    def keeps_constraints(self, report: Mapping[str, Any]) -> bool:
        """Return whether a trial satisfies all constraints."""
        return all(violation <= 0 for violation in self.violations(report).values())

    def starting_case(self, case: str) -> str | None:
        """Return the case from whose student a case starts; None if it starts from no other case."""
        start = str(self.cases[case].get("initial_student") or "")
        return start.removeprefix(CASE_PREFIX) if start.startswith(CASE_PREFIX) else None

    def trial_config(self, suggestion: Mapping[str, Any]) -> AnyTrialConfig:
        """Return the config of a trial of a search: the published defaults, overridden by the suggestion and fixed fields.

        Raises:
            ConfigError: a field is unknown or its value not allowed.
        """
        return self._config({"seed": self.seed, **suggestion, **self.trial}, "trial")

    def case_config(self, assignment: Assignment) -> AnyTrialConfig:
        """Return the config of a trial of a case, whose ``initial_student`` may still be ``case:NAME``.

        Raises:
            ConfigError: a field is unknown or its value not allowed.
        """
        values = {**self.trial, **self.cases[assignment.case], "seed": assignment.seed}
        return self._config(values, f"case {assignment.case}")

    def assignments(self) -> list[Assignment]:
        """Return the trials of a sweep of cases, ordered by seed, so that the first results cover all cases."""
        return [Assignment(case=case, seed=seed) for seed in self.seeds for case in self.only or self.cases]

    def configs(self) -> list[AnyTrialConfig]:
        """Return the configs of all trials of a sweep of cases; for a search, one config that stands for all trials."""
        if not self.cases:
            return [self._common_config()]
        return [self.case_config(assignment) for assignment in self.assignments()]

    def _common_config(self) -> AnyTrialConfig:
        """Return a config that stands for all trials of a search.

        The searched fields have their published values. Where these are not compatible with the fixed fields (such as a
        loss whose weights are all searched), they have the first compatible values that are drawn from the space.

        Raises:
            ConfigError: no values are compatible; the message is about the published ones.
        """
        try:
            return self.trial_config({})
        except ConfigError:
            for settings in settings_within(self.space, self.search, self.trial):
                with suppress(ConfigError):
                    return self.trial_config(settings)
            raise

    @property
    def permissions(self) -> frozenset[str]:
        """Fields that permit a sweep or its trials to run and change no result, so that they may differ on a resume."""
        trials = [{**self.trial, **fields} for fields in self.cases.values()] or [self.trial]
        methods = {config_class(trial, stored=True) for trial in trials}
        return frozenset((*sweep_fields(SweepConfig, SweepRole.PERMISSION), *permission_fields(*methods)))

    def teacher_config(self, config: AnyTrialConfig) -> SupervisedConfig:
        """Return the config by which the teacher of a trial is trained if it has to be.

        Raises:
            ConfigError: a field of the recipe is unknown or its value not allowed.
        """
        values = {
            **config.splits_key._asdict(),
            "student": config.teacher,
            "normalisation": config.normalisation,
            **({} if config.teacher_seed is None else {"seed": config.teacher_seed}),
            **self.teacher_recipe,
        }
        try:
            recipe = SupervisedConfig.model_validate(values, context=self._reading.context)
        except ValidationError as error:
            raise config_error(error, SupervisedConfig, "teacher_recipe") from error
        recipe = recipe.scaled(max(self.scale, min(1.0, SHORTEST_TEACHER_EPOCHS / recipe.budget)))
        interval = recipe.evaluation_interval or max(1, recipe.budget // 10)
        return recipe.model_copy(update={"evaluation_interval": interval})

    def _config(self, values: Mapping[str, Any], origin: str) -> AnyTrialConfig:
        model = trial_model(values, origin, stored=self._reading.context == STORED)
        try:
            config = model.model_validate(values, context=self._reading.context)
        except ValidationError as error:
            if self._reading.context != STORED or model in config_classes():
                raise config_error(error, model, origin) from error
            # The file of the user's own method was edited after the sweep ran, and no longer accepts these settings.
            config = AbsentConfig.model_validate(values, context=STORED)
        if config.teacher_checkpoint is None and config.teacher in self.teachers:
            config = config.model_copy(update={"teacher_checkpoint": self.teachers[config.teacher]})
        if self._reading.context != STORED:
            return self._of_its_length(config, origin)
        try:
            return self._of_its_length(readable(config), origin)
        except (ValueError, TrialError, ConfigError):
            return config  # a network that is missing has no known cost, by which the budget could be converted

    def _of_its_length(self, config: AnyTrialConfig, origin: str) -> AnyTrialConfig:
        """Return a trial's config with the sweep's equal budget, if there is one, and with the sweep's scale.

        Raises:
            ConfigError: the trial's method has no field for a budget.
        """
        budget = self.equal_budget
        if budget is not None:
            if config.budget_field is None:
                able = methods_with(lambda method: method.budget_field is not None)
                raise ConfigError(f"{origin}: budget is for {able} trials, and this one is {config.method}")
            config = budget.applied_to(config)
        return config.scaled(self.scale)

    def budget_used(self, config: AnyTrialConfig, report: Mapping[str, Any]) -> int:
        """Return how much of its budget a trial has used at a report; early stopping compares trials at equal amounts."""
        done: int = report[config.unit]
        if self.equal_budget is not None and config.budget_field is not None:
            return self.equal_budget.used(config, done)
        return done

    def share_used(self, config: AnyTrialConfig, report: Mapping[str, Any]) -> float:
        """Return the share, in [0, 1], of the sweep's budget for a trial that the trial has used; at 1 it is complete."""
        whole = config.budget if self.cases and self.equal_budget is None else self.trial_budget
        return self.budget_used(config, report) / whole

    @cached_property
    def trial_budget(self) -> int:
        """The whole budget of a trial of a search, in the unit of ``budget_used``."""
        # Cached: validating a trial's config for each report took a twentieth of the time to show results.
        return self.equal_budget.amount if self.equal_budget is not None else self.configs()[0].budget

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the sweep as pydantic does, but without the cached ``trial_budget``, which the update may change."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("trial_budget", None)
        return copied

    @property
    def equal_budget(self) -> TrialBudget | None:
        """The budget that is equal for all trials. None means that each trial has its own."""
        return self.budget.of_trial if self.budget is not None else None

    def with_speed(self, flops_per_second: float) -> SweepConfig:
        """Return the sweep with the machines' speed, by which its trials' budget in seconds is converted to FLOPs."""
        assert self.budget is not None  # the speed is needed for a budget in seconds only
        known = self.budget.model_copy(update={"flops_per_second": flops_per_second})
        return self.model_copy(update={"budget": known})

    def continuing(self, earlier: SweepConfig) -> SweepConfig:
        """Return the sweep with the machines' speed that an earlier session measured, if its budget needs one."""
        ours, theirs = self.equal_budget, earlier.equal_budget
        if ours is None or ours.is_known or theirs is None or theirs.flops_per_second is None:
            return self
        return self.with_speed(theirs.flops_per_second)

    def with_resources(self, **changes: float | str) -> SweepConfig:
        """Return the sweep with changed resources per trial; the keys are fields of ``ResourcesConfig``."""
        try:
            resources = ResourcesConfig.model_validate({**self.resources.model_dump(), **changes})
        except ValidationError as error:
            raise config_error(error, ResourcesConfig, "resources") from error
        return self.model_copy(update={"resources": resources})

    def on_cluster(self, *, gpus: float) -> SweepConfig:
        """Return the sweep with ``gpu: auto`` replaced by 1 if the cluster has a GPU, else by 0.

        How many trials share one GPU is measured later.
        """
        return self.with_resources(gpu=1.0 if gpus >= 1 else 0.0) if self.resources.gpu == "auto" else self

    @property
    def gpus_per_trial(self) -> float:
        """GPUs per trial, once the cluster is known.

        Raises:
            ValueError: the number is still ``auto``.
        """
        if self.resources.gpu == "auto":
            raise ValueError("resources: {gpu: auto} has no number before the cluster is known")
        return self.resources.gpu

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that decide the sweep's results. More trials, or another storage, leave it the same sweep."""
        return self._without_limits.model_dump(include=set(sweep_fields(type(self), *IDENTITY)))

    @property
    def _without_limits(self) -> SweepConfig:
        """The sweep without its spending limits, which decide how many trials run but not what they compute."""
        budget = self.budget and self.budget.without_limits
        return self.model_copy(update={"budget": budget})

    @property
    def default_sweep_id(self) -> str:
        """The id ``<name>-<hash of the identity>``, which makes the same command mean the same sweep.

        Fields that have their default are not hashed, so that a field added by a later version does not change the id.
        """
        given = self._without_limits.model_dump(exclude_defaults=True)
        identity = {key: value for key, value in given.items() if key in self.identity}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"


RUN_FIELDS = sweep_fields(SweepConfig, SweepRole.EXECUTION)
"""Fields that say how and where trials run, but not what they compute. A sweep derived from another keeps them."""


def trial_model(values: Mapping[str, Any], origin: str, *, stored: bool = False) -> type[TrialConfig]:
    """Return the config class that a trial's ``method`` names; see ``config_class``.

    Raises:
        ConfigError: the method does not exist; the message begins with ``origin``, where it was read.
    """
    try:
        return config_class(values, stored=stored)
    except ValueError as error:
        raise ConfigError(f"{origin}: {error}") from error
