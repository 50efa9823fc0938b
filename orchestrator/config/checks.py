"""Checks of a sweep's config that involve several fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set

from orchestrator.config.fields import SweepFields
from orchestrator.errors import naming
from orchestrator.samplers.registry import SAMPLERS
from orchestrator.schedulers.registry import SCHEDULERS
from trainables.config import AnyTrialConfig
from trainables.metrics import METRICS


def check_teachers(sweep: SweepFields, configs: Sequence[AnyTrialConfig]) -> None:
    """Refuse published weights of a teacher that no trial has.

    Raises:
        ValueError: ``teachers`` names such a teacher; the message names it.
    """
    unused = sweep.teachers.keys() - {config.teacher for config in configs}
    if unused:
        known = sorted({str(config.teacher) for config in configs if config.teacher})
        raise ValueError(f"teachers: no trial has teacher {', '.join(sorted(unused))}; allowed: {', '.join(known)}")


def check_grid(sweep: SweepFields) -> None:
    """Refuse more trials than a grid has combinations.

    Raises:
        ValueError: ``num_trials`` is too large; the message says what is allowed.
    """
    with naming(f"sampler {sweep.sampler.name}", passing=(ValueError,)):
        values = sweep.sampler.combinations
    combinations = math.prod(len(choices) for choices in (values or {}).values())
    if values is not None and sweep.num_trials > 1 + combinations:
        raise ValueError(
            f"num_trials={sweep.num_trials}: the grid has {combinations} combinations, plus one trial with the published "
            f"settings; allowed: up to {1 + combinations}"
        )


def check_starting_cases(sweep: SweepFields, starts: Mapping[str, str | None]) -> None:
    """Refuse a case whose starting case does not run, and cases that start from each other in a circle.

    Args:
        sweep: A sweep of cases, or a search, which has none.
        starts: For each case, the case from whose student it starts; None if it starts from no other case.

    Raises:
        ValueError: ``only`` leaves out a starting case, or cases form a circle; the message names them.
    """
    wanted = sweep.only or list(sweep.cases)
    for name in wanted:
        chain = [name]
        while (start := starts[chain[-1]]) is not None:
            if start not in wanted:
                raise ValueError(f"case {chain[-1]} starts from case {start}, which must be among the cases to run")
            if start in chain:
                raise ValueError(f"cases start from each other, so that none can be the first: {', '.join(chain)}")
            chain.append(start)


def check_selection(sweep: SweepFields, selects_on: Set[str], config: AnyTrialConfig) -> None:
    """Refuse objectives, constraints and a warm start that do not fit the trials, the sampler or each other.

    Args:
        sweep: Fields of a search, or of a sweep of cases, which selects nothing.
        selects_on: Metrics of all objectives and constraints.
        config: Config of one trial, for what all trials have in common.

    Raises:
        ValueError: a field does not fit; the message says why, and what is allowed.
    """
    if sweep.objective is None and not sweep.cases:
        raise ValueError("objective=none: a search needs one; allowed: validation_accuracy, for example")
    if "validation_accuracy" in selects_on and config.validation_fraction == 0:
        raise ValueError("validation_accuracy needs trial: {validation_fraction: ...} above 0")
    if "validation_accuracy" in selects_on and config.reads_images and config.spec.training_images == 0:
        raise ValueError(
            f"validation_accuracy needs images beside the test images, and {config.dataset} has none; use data_free_score"
        )
    for metric in METRICS:
        if metric.measured_on and metric.name in selects_on and not config.reads_images:
            raise ValueError(f"{metric.name} needs trial: {{audited: true}}; without images there is data_free_score")
    if not sweep.cases:
        _check_measured(sweep, selects_on, config)
    if sweep.cases and (sweep.further_objectives or sweep.constraints):
        raise ValueError("further_objectives and constraints are for searches; a sweep of cases selects nothing")
    if sweep.warm_start and (sweep.cases or not sweep.sampler.warm_starts):
        what = "a sweep of cases" if sweep.cases else f"sampler={sweep.sampler.name}"
        able = " or ".join(SAMPLERS.names(lambda kind: kind.warm_starts))
        raise ValueError(f"warm_start: {what} learns nothing from other trials; allowed with sampler {able}")
    if sweep.objective in sweep.further_objectives:
        raise ValueError(f"further_objectives: {sweep.objective} is the objective already")
    if sweep.further_objectives and not sweep.sampler.several_objectives:
        able = ", ".join(SAMPLERS.names(lambda kind: kind.several_objectives))
        raise ValueError(f"sampler={sweep.sampler.name} takes one objective only; for several use one of: {able}")


def _check_measured(sweep: SweepFields, selects_on: Set[str], config: AnyTrialConfig) -> None:
    """Refuse metrics that the trials do not report, and early stopping on a metric that is known only at a trial's end."""
    for metric in METRICS:
        if metric.name not in selects_on:
            continue
        if not metric.is_reported_by(config.method_names()):
            raise ValueError(
                f"{config.method} trials do not report {metric.name}; docs/reference.md lists their metrics"
            )
        if metric.asked_by is not None and not getattr(config, metric.asked_by):
            raise ValueError(f"{metric.name} needs trial: {{{metric.asked_by}: true}}; set it so, or leave it out")
        if metric.at_end and not config.transition_images:
            raise ValueError(f"{metric.name} needs trial: {{transition_images: ...}} above 0")
        if metric.at_end and metric.name == sweep.objective and sweep.scheduler.compares_midway:
            able = " or ".join(SCHEDULERS.names(lambda kind: not kind.compares_midway))
            raise ValueError(
                f"objective={metric.name} is known only at a trial's end, so scheduler={sweep.scheduler.name} has nothing "
                f"to compare earlier; use scheduler: {{name: {able}}}"
            )
