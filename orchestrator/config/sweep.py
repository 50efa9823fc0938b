"""A whole sweep as data: what to run, how to search, where results go. Free of torch and ray.

Values come from three places, later ones winning: the preset or file, the flags, and ``--set`` for fields of the trial.
A field of the trial that is given is fixed, and thereby taken out of the search.
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
"""Name of the case that the others are compared with."""

CASE_PREFIX = "case:"
"""What ``initial_student`` begins with where it names a case of the same sweep."""

SHORTEST_TEACHER_EPOCHS = 10
"""A scaled sweep trains its teachers no shorter than this: a student of a teacher that knows nothing measures nothing."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One trial of a sweep that is a list of cases."""

    case: str
    seed: int


@dataclass(frozen=True)
class _Reading:
    """How a sweep was read. Two sweeps do not differ by it."""

    context: object = field(default=None, compare=False)
    """Context of validating it, and with it its trials."""


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
            # How a stored sweep's teacher is trained, and what it selects on, has been looked at; its files may be gone.
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
        """The sweep that a session wrote down, as JSON. Files and packages that it names need not be at hand."""
        distrust(json.loads(text))
        return cls.model_validate_json(text, context=STORED)

    @property
    def directions(self) -> dict[str, Mode]:
        """All objectives with their modes, the one that early stopping compares first; empty for a sweep of cases."""
        return {self.objective: self.mode, **self.further_objectives} if self.objective else {}

    @property
    def selects_on(self) -> set[str]:
        """The metrics by which a search tells good trials from bad ones: all objectives, and what is constrained."""
        return {*self.directions, *self.constraints}

    @property
    def selects_on_test(self) -> bool:
        """Whether one of them is measured on test images, which are then no audit."""
        return not self.selects_on.isdisjoint(AUDITS)

    def merit(self, value: float) -> float:
        """A value of the objective such that larger is better."""
        return value if self.mode == "max" else -value

    def violations(self, report: Mapping[str, Any]) -> dict[str, float]:
        """By how much a trial breaks each constraint, see ``BoundConfig.violation``."""
        return {name: bound.violation(report.get(name)) for name, bound in self.constraints.items()}

    def keeps_constraints(self, report: Mapping[str, Any]) -> bool:
        """Whether a trial breaks none."""
        return all(violation <= 0 for violation in self.violations(report).values())

    def starting_case(self, case: str) -> str | None:
        """The case from whose student a case starts, or none."""
        start = str(self.cases[case].get("initial_student") or "")
        return start.removeprefix(CASE_PREFIX) if start.startswith(CASE_PREFIX) else None

    def trial_config(self, suggestion: Mapping[str, Any]) -> AnyTrialConfig:
        """The config of a trial of a search: published defaults, then the suggestion, then what is fixed.

        Raises:
            ConfigError: a field is unknown or its value not allowed.
        """
        return self._config({"seed": self.seed, **suggestion, **self.trial}, "trial")

    def case_config(self, assignment: Assignment) -> AnyTrialConfig:
        """The config of a trial of a case, ``initial_student`` as the case has it.

        Raises:
            ConfigError: a field is unknown or its value not allowed.
        """
        values = {**self.trial, **self.cases[assignment.case], "seed": assignment.seed}
        return self._config(values, f"case {assignment.case}")

    def assignments(self) -> list[Assignment]:
        """The trials of a sweep of cases, seed by seed, so that early results span all cases."""
        return [Assignment(case=case, seed=seed) for seed in self.seeds for case in self.only or self.cases]

    def configs(self) -> list[AnyTrialConfig]:
        """A config of every trial that a sweep of cases has; of a search one, that stands for what all share."""
        if not self.cases:
            return [self._common_config()]
        return [self.case_config(assignment) for assignment in self.assignments()]

    def _common_config(self) -> AnyTrialConfig:
        """The config that stands for what all trials of a search share.

        Published settings of what the space varies; where they do not go together with what is fixed, as a loss of which
        all weights are searched, the first random ones within the space that do.

        Raises:
            ConfigError: none does; the message is about the published ones.
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
        """Fields that let a sweep or its trials run and change no number: it may go on with others than it began with."""
        trials = [{**self.trial, **fields} for fields in self.cases.values()] or [self.trial]
        methods = {config_class(trial, stored=True) for trial in trials}
        return frozenset((*sweep_fields(SweepConfig, SweepRole.PERMISSION), *permission_fields(*methods)))

    def teacher_config(self, config: AnyTrialConfig) -> SupervisedConfig:
        """How the teacher of such a trial is trained, if need be.

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
            # A method of the user's own whose file has been changed since the sweep ran.
            config = AbsentConfig.model_validate(values, context=STORED)
        if config.teacher_checkpoint is None and config.teacher in self.teachers:
            config = config.model_copy(update={"teacher_checkpoint": self.teachers[config.teacher]})
        if self._reading.context != STORED:
            return self._of_its_length(config, origin)
        try:
            return self._of_its_length(readable(config), origin)
        except (ValueError, TrialError, ConfigError):
            return config  # what its network costs cannot be told: it is not at hand

    def _of_its_length(self, config: AnyTrialConfig, origin: str) -> AnyTrialConfig:
        """A trial's config with the budget that the sweep gives to each, and scaled.

        Raises:
            ConfigError: its method has no field that is the budget.
        """
        budget = self.equal_budget
        if budget is not None:
            if config.budget_field is None:
                able = methods_with(lambda method: method.budget_field is not None)
                raise ConfigError(f"{origin}: budget is for {able} trials, and this one is {config.method}")
            config = budget.applied_to(config)
        return config.scaled(self.scale)

    def budget_used(self, config: AnyTrialConfig, report: Mapping[str, Any]) -> int:
        """How much of its budget a trial has used by a report: what early stopping compares trials at."""
        done: int = report[config.unit]
        if self.equal_budget is not None and config.budget_field is not None:
            return self.equal_budget.used(config, done)
        return done

    def share_used(self, config: AnyTrialConfig, report: Mapping[str, Any]) -> float:
        """How much of the budget that the sweep gives to a trial it has used, in [0, 1]: 1 makes it a completed one."""
        whole = config.budget if self.cases and self.equal_budget is None else self.trial_budget
        return self.budget_used(config, report) / whole

    @cached_property
    def trial_budget(self) -> int:
        """The whole budget of a trial of a search, in the unit of ``budget_used``."""
        # Kept, since checking a trial's config for each report was a twentieth of what showing results cost.
        return self.equal_budget.amount if self.equal_budget is not None else self.configs()[0].budget

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the sweep, as pydantic does, without what was kept of it: it may be another one's."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("trial_budget", None)
        return copied

    @property
    def equal_budget(self) -> TrialBudget | None:
        """What is held equal between the trials; none: their own budgets."""
        return self.budget.of_trial if self.budget is not None else None

    def with_speed(self, flops_per_second: float) -> SweepConfig:
        """The same sweep, its trials' budget in seconds told in operations."""
        assert self.budget is not None  # nothing else is in seconds
        known = self.budget.model_copy(update={"flops_per_second": flops_per_second})
        return self.model_copy(update={"budget": known})

    def continuing(self, earlier: SweepConfig) -> SweepConfig:
        """The same sweep as an earlier session of it ran: what it leaves open is as that one has settled it."""
        ours, theirs = self.equal_budget, earlier.equal_budget
        if ours is None or ours.is_known or theirs is None or theirs.flops_per_second is None:
            return self
        return self.with_speed(theirs.flops_per_second)

    def with_resources(self, **changes: float | str) -> SweepConfig:
        """The same sweep with other resources for each trial; keys are those of ``ResourcesConfig``."""
        try:
            resources = ResourcesConfig.model_validate({**self.resources.model_dump(), **changes})
        except ValidationError as error:
            raise config_error(error, ResourcesConfig, "resources") from error
        return self.model_copy(update={"resources": resources})

    def on_cluster(self, *, gpus: float) -> SweepConfig:
        """The same sweep with ``gpu: auto`` settled for a cluster that has so many, as far as it can be before it has
        been measured how many trials should share one."""
        return self.with_resources(gpu=1.0 if gpus >= 1 else 0.0) if self.resources.gpu == "auto" else self

    @property
    def gpus_per_trial(self) -> float:
        """GPUs of one trial, once that is settled.

        Raises:
            ValueError: it is still ``auto``.
        """
        if self.resources.gpu == "auto":
            raise ValueError("resources: {gpu: auto} is settled when the cluster is known")
        return self.resources.gpu

    @property
    def identity(self) -> dict[str, Any]:
        """The part of the config that decides the sweep's numbers. More trials or another place are the same sweep."""
        return self._without_limits.model_dump(include=set(sweep_fields(type(self), *IDENTITY)))

    @property
    def _without_limits(self) -> SweepConfig:
        """The same without what decides how far the sweep comes and not what its trials are."""
        budget = self.budget and self.budget.without_limits
        return self.model_copy(update={"budget": budget})

    @property
    def default_sweep_id(self) -> str:
        """``<name>-<hash of the identity>``: the same command means the same sweep.

        What has its default is left out, so that a field which a later version adds gives no other id.
        """
        given = self._without_limits.model_dump(exclude_defaults=True)
        identity = {key: value for key, value in given.items() if key in self.identity}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"


RUN_FIELDS = sweep_fields(SweepConfig, SweepRole.EXECUTION)
"""Fields that say how and where trials run, and not what they are: a sweep that is made from another keeps them."""


def trial_model(values: Mapping[str, Any], origin: str, *, stored: bool = False) -> type[TrialConfig]:
    """The config class that a trial's ``method`` names; see ``config_class``.

    Raises:
        ConfigError: there is no such method; ``origin`` says where it was read.
    """
    try:
        return config_class(values, stored=stored)
    except ValueError as error:
        raise ConfigError(f"{origin}: {error}") from error
