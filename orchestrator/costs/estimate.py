"""Estimates of a sweep's cost before it starts, for ``zskt plan``.

Similar trials that have ended on the same storage give the best estimate. Without such trials, the estimate comes from
counted operations of the networks and rough speeds of machines, and is the same wherever it is made; or, on request, from a
few steps that are timed on this machine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import optuna
import torch
from optuna.distributions import BaseDistribution

from orchestrator.config import SweepConfig
from orchestrator.costs.early_stopping import WHOLE, UsedShare, used_share
from orchestrator.costs.history import PastCosts, Place, past_costs
from orchestrator.costs.ledger import NOTHING, CostAmount
from orchestrator.costs.pricing import NO_PRICES, Pricing, Span
from orchestrator.errors import ConfigError
from orchestrator.results import SweepResults
from orchestrator.search.space import proposed_configs, resolve_domains
from orchestrator.search.study import WatchedStudy
from orchestrator.search.workload import Workload, failed_cases
from orchestrator.storage import SweepStore
from orchestrator.storage.layout import TEACHERS
from trainables.compute.devices import device_name
from trainables.compute.flops import step_work, trial_work
from trainables.compute.precision import why_slow
from trainables.config import AnyTrialConfig, SupervisedConfig
from trainables.profiling.timing import flops_per_second, timed_seconds
from trainables.storage.object_store import ObjectStore
from trainables.teachers.registry import TeacherRegistry

Source = Literal["earlier", "measured", "counted"]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of trial: trials with the same cost, such as a case, a teacher to train, or a search's trials."""

    name: str
    trials: int
    config: AnyTrialConfig
    share: UsedShare = WHOLE
    """Share of their budgets that the trials use."""


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """The estimated cost of one kind of trial; each range is for one trial that uses its whole budget."""

    kind: Kind
    seconds: Span | None
    """Seconds of training and evaluation; None if the machines' speed is not known."""

    gpu_hours: Span | None
    """GPU hours, 0 on CPUs; None if the machines' speed is not known."""

    usd: Span | None
    """Cost in USD; None if it is not known."""

    source: Source
    past: PastCosts | None = None
    """Costs of similar trials in earlier sweeps, if the estimate comes from them."""

    @property
    def student_updates(self) -> int:
        """Student updates of one trial."""
        return round(self.kind.config.budget * self.kind.config.student_updates_per_unit)

    @property
    def hours(self) -> Span | None:
        """``seconds`` in hours."""
        return times(self.seconds, 1 / 3600)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The estimated cost of a whole sweep."""

    sweep: SweepConfig
    """The sweep, with open settings (``gpu: auto``, the speed for a budget in seconds) settled for the plan."""

    costs: Sequence[CostEstimate]
    """Costs of the trials that have not ended, by kind."""

    pricing: Pricing
    domains: Mapping[str, BaseDistribution] = field(default_factory=dict)
    """Domains of the searched fields."""

    ended: int = 0
    """Number of trials of the sweep that have ended."""

    spent: CostAmount = NOTHING
    """Cost of the ended trials."""

    used_up: str = ""
    """Sentence that the space has fewer settings than the sweep has trials; empty if it has enough."""

    @property
    def trials(self) -> int:
        """Number of trials of all kinds, including teachers to train."""
        return sum(cost.kind.trials for cost in self.costs)

    @property
    def student_updates(self) -> float:
        """Expected student updates of all trials."""
        return sum(cost.kind.trials * cost.kind.share.expected * cost.student_updates for cost in self.costs)

    @property
    def hours(self) -> Span | None:
        """Expected hours of all trials if they run one after another, each on its share of a machine."""
        return self._in_all(lambda cost: cost.hours)

    @property
    def gpu_hours(self) -> Span | None:
        """Expected GPU hours of all trials; half a GPU for an hour counts half an hour."""
        return self._in_all(lambda cost: cost.gpu_hours)

    @property
    def usd(self) -> Span | None:
        """Expected cost of all trials in USD."""
        return self._in_all(lambda cost: cost.usd)

    @property
    def refusals_here(self) -> list[str]:
        """Reasons why this machine would refuse trials on its CPU; empty if it would refuse none, or if trials have GPUs."""
        if self.sweep.gpus_per_trial:
            return []
        device = torch.device("cpu")
        return sorted({reason for c in proposed_configs(self.sweep, self.domains) if (reason := why_slow(c, device))})

    def if_stopped(self, *, least: bool) -> Plan:
        """Return the plan for the case that trials are stopped as early as possible (``least``), or that none is stopped."""

        def with_share(cost: CostEstimate) -> CostEstimate:
            share = cost.kind.share.least if least else 1.0
            return replace(cost, kind=replace(cost.kind, share=UsedShare(least=share, expected=share)))

        return replace(self, costs=[with_share(cost) for cost in self.costs])

    def _in_all(self, of: Callable[[CostEstimate], Span | None]) -> Span | None:
        """Return the sum of a cost over all trials; None if it is not known for some kind."""
        parts = [times(of(cost), cost.kind.trials * cost.kind.share.expected) for cost in self.costs]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return sum(low for low, _ in known), sum(high for _, high in known)


def times(span: Span | None, factor: float) -> Span | None:
    """Return a range multiplied by a factor; None stays None."""
    return None if span is None else (factor * span[0], factor * span[1])


def make_plan(
    sweep: SweepConfig,
    *,
    past: SweepStore | None = None,
    pricing: Pricing = NO_PRICES,
    measure: Say | None = None,
) -> Plan:
    """Estimate the cost of each kind of trial of a sweep, and of each teacher that it would train.

    The trials of a search are estimated by their common settings, with the published values of searched fields.

    Args:
        sweep: The sweep to plan.
        past: Store of this sweep, on the storage of earlier sweeps and teachers. None means that there is no storage.
        pricing: The machines on which the sweep would run, with their prices.
        measure: Prints a line on what is being timed. None means that operations are counted and nothing is timed.

    Raises:
        ConfigError: a trial fits no machine of the cluster, or cannot be timed on this machine.
    """
    asked, sweep = sweep, _settled(sweep, pricing, measure)
    # If the sweep may get a GPU that this machine lacks, hours of this machine's cores say nothing about its cost.
    without_gpu = asked.resources.gpu == "auto" and not sweep.gpus_per_trial and pricing.has_gpus
    of_times = NO_PRICES if without_gpu else pricing
    workload, domains = _workload(sweep, past)
    kinds = _kinds(sweep, past.storage if past else None, workload)
    place = _place(sweep, pricing, open_share=asked.resources.gpu == "auto")
    known = {kind.name: past_costs(past.storage, kind.config, place) if past else None for kind in kinds}
    to_measure = [kind.name for kind in kinds if measure and not known[kind.name]]
    costs = []
    for kind in kinds:
        if measure and kind.name in to_measure:
            measure(f"timing {kind.name} ({to_measure.index(kind.name) + 1} of {len(to_measure)}) ...")
        if costs_of_past := known[kind.name]:
            costs.append(_from_past(kind, sweep, pricing, costs_of_past))
        elif measure:
            costs.append(_timed(kind, sweep, of_times))
        else:
            costs.append(_counted(kind, sweep, pricing))
    return Plan(
        sweep=sweep,
        costs=costs,
        pricing=pricing,
        domains=domains,
        ended=workload.ended,
        spent=_spent(past) if past and workload.ended else NOTHING,
        used_up=workload.used_up,
    )


def _workload(sweep: SweepConfig, past: SweepStore | None) -> tuple[Workload, Mapping[str, BaseDistribution]]:
    """Return the trials that a sweep has run and will run, from a copy of its study, and the domains of its search."""
    space, domains = resolve_domains(sweep)
    study = optuna.create_study(
        directions=["maximize" if mode == "max" else "minimize" for mode in sweep.directions.values()] or ["maximize"]
    )
    if past:
        study.add_trials(WatchedStudy(past).trials())
    failed = failed_cases(past) if past else frozenset()
    return Workload(sweep=sweep, study=study, completed_elsewhere={}, failed=failed, space=space), domains


def _spent(past: SweepStore) -> CostAmount:
    """Return the cost of a sweep's ended trials; trials on machines without a price count 0 USD."""
    each = map(CostAmount.of_trial, SweepResults(past).trials())
    return sum((replace(spent, usd=spent.usd or 0.0) for spent in each), NOTHING)


def _settled(sweep: SweepConfig, pricing: Pricing, measure: Say | None) -> SweepConfig:
    """Return the sweep with the settings that its first session would settle: GPUs per trial, and the machines' speed.

    Raises:
        ConfigError: a trial fits no machine of the cluster, or needs a GPU to be timed that this machine lacks.
    """
    here = torch.cuda.device_count() if measure else 0
    if measure and sweep.resources.gpu != "auto" and sweep.resources.gpu > 0 and not here:
        raise ConfigError(
            "--measure: these trials take a GPU, and this machine has none: leave --measure out, or run it on a GPU machine"
        )
    sweep = sweep.on_cluster(gpus=here if measure else float(pricing.has_gpus))
    cpus, gpus = sweep.resources.cpu, sweep.gpus_per_trial
    if pricing.capacity is not None:
        try:
            pricing.capacity.trials(cpus=cpus, gpus=gpus)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    if sweep.equal_budget is None or sweep.equal_budget.is_known:
        return sweep
    config = sweep.configs()[0]
    if measure:
        measure("timing how many operations a trial can do in its budget of seconds ...")
        return sweep.with_speed(flops_per_second(config, cpus=cpus, gpus=gpus))
    work = step_work(config)
    span = pricing.seconds(work, cpus=cpus, gpus=gpus)
    if span is None:
        raise ConfigError(
            f"a trial asks for {cpus:g} CPU cores and {gpus:g} GPUs, and no machine with a price has so many: add one to a "
            "file for --prices, or name a cluster with --cluster"
        )
    return sweep.with_speed(work.flops / math.sqrt(span[0] * span[1]))


def _kinds(sweep: SweepConfig, store: ObjectStore | None, workload: Workload) -> list[Kind]:
    teachers = [
        Kind(name=f"teacher {config.student} on {config.dataset}", trials=1, config=config)
        for config in _teachers_to_train(sweep, store)
    ]
    if sweep.cases:
        configs = {assignment.case: sweep.case_config(assignment) for assignment in reversed(sweep.assignments())}
        cases = sweep.only or list(sweep.cases)
        left = Counter(assignment.case for assignment in workload.unended)
        return [*teachers, *(Kind(name=case, trials=left[case], config=configs[case]) for case in cases)]
    (config,) = sweep.configs()
    config = sweep.scheduler.trial_of(config)
    share = used_share(
        sweep.scheduler, budget=config.budget, report_interval=config.report_interval, trials=workload.total
    )
    return [*teachers, Kind(name="trial", trials=workload.total - workload.ended, config=config, share=share)]


def _teachers_to_train(sweep: SweepConfig, store: ObjectStore | None) -> list[SupervisedConfig]:
    """Return the recipes of a sweep's teachers that are neither a file nor in the storage's registry."""
    wanted = [config for config in sweep.configs() if config.teacher_key and config.teacher_checkpoint is None]
    recipes = {config.teacher_key: sweep.teacher_config(config) for config in wanted}.values()
    registry = TeacherRegistry(store.below(TEACHERS)) if store else None
    return [recipe for recipe in recipes if registry is None or not registry.holds(recipe)]


def _place(sweep: SweepConfig, pricing: Pricing, *, open_share: bool) -> Place:
    """Return where a sweep's trials would run: on the cluster; if none is named, also on this machine."""
    cpus, on_gpu = sweep.resources.cpu, sweep.gpus_per_trial > 0
    there = not on_gpu or torch.cuda.is_available()
    here = None if pricing.named or not there else device_name(torch.device("cuda" if on_gpu else "cpu"))
    names = {machine.name for machine in pricing.fitting(cpus=cpus, gpus=sweep.gpus_per_trial)}
    return Place(
        on_gpu=on_gpu,
        threads=max(1, int(cpus)),
        gpus=None if open_share else sweep.gpus_per_trial,
        own_machines=pricing.own,
        node_types=names,
        device_name=here,
    )


def _from_past(kind: Kind, sweep: SweepConfig, pricing: Pricing, past: PastCosts) -> CostEstimate:
    gpus = sweep.gpus_per_trial
    # With gpu: auto, past trials had parts of a GPU, and only the part that they held is paid for.
    held = (past.gpu_hours[0] * 3600 / gpus, past.gpu_hours[1] * 3600 / gpus) if gpus else past.seconds
    usd = past.usd or pricing.usd_of_time(held, cpus=sweep.resources.cpu, gpus=gpus)
    return CostEstimate(kind=kind, seconds=past.seconds, gpu_hours=past.gpu_hours, usd=usd, source="earlier", past=past)


def _timed(kind: Kind, sweep: SweepConfig, pricing: Pricing) -> CostEstimate:
    cpus, gpus = sweep.resources.cpu, sweep.gpus_per_trial
    alone = timed_seconds(kind.config, cpus=cpus, gpus=gpus)
    # With a part of a GPU a trial may be as fast as here, if the others leave the GPU idle, or as slow as that part.
    seconds = alone, alone / min(1.0, gpus or 1.0)
    usd = pricing.usd_of_time(seconds, cpus=cpus, gpus=gpus)
    return CostEstimate(kind=kind, seconds=seconds, gpu_hours=times(seconds, gpus / 3600), usd=usd, source="measured")


def _counted(kind: Kind, sweep: SweepConfig, pricing: Pricing) -> CostEstimate:
    cpus, gpus, work = sweep.resources.cpu, sweep.gpus_per_trial, trial_work(kind.config)
    seconds = pricing.seconds(work, cpus=cpus, gpus=gpus)
    gpu_hours = times(seconds, gpus / 3600) if gpus else (0.0, 0.0)
    return CostEstimate(
        kind=kind, seconds=seconds, gpu_hours=gpu_hours, usd=pricing.usd(work, cpus=cpus, gpus=gpus), source="counted"
    )
