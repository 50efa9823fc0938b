"""``zskt plan``: what a sweep costs, before it starts.

Trials of the same kind that have ended on the storage say best what such a trial takes, and what it cost. Where there are
none it is foretold from what is counted of the networks and from rough rates of machines, the same on every machine that
asks; or, where that is asked for, from a few steps that are timed here.
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
    """Trials that take the same."""

    name: str
    trials: int
    config: AnyTrialConfig
    share: UsedShare = WHOLE
    """How much of their budgets they use."""


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Says what trials of one kind take; each span is of one trial that uses its whole budget."""

    kind: Kind
    seconds: Span | None
    """Evaluating counted in; none where nobody says how fast its machines are."""

    gpu_hours: Span | None
    """0 on CPUs."""

    usd: Span | None
    """None where it is not known."""

    source: Source
    past: PastCosts | None = None
    """The trials of earlier sweeps that tell, where they do."""

    @property
    def student_updates(self) -> int:
        """For one trial."""
        return round(self.kind.config.budget * self.kind.config.student_updates_per_unit)

    @property
    def hours(self) -> Span | None:
        """The same as ``seconds``, in hours."""
        return times(self.seconds, 1 / 3600)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a whole sweep takes."""

    sweep: SweepConfig
    """With what was left open settled as the plan has it."""

    costs: Sequence[CostEstimate]
    """Of what is left of it."""

    pricing: Pricing
    domains: Mapping[str, BaseDistribution] = field(default_factory=dict)
    """What a search varies."""

    ended: int = 0
    """Trials that it has had before."""

    spent: CostAmount = NOTHING
    """What those have cost."""

    used_up: str = ""
    """That there are fewer settings than trials that were asked for, in words; empty where there are not."""

    @property
    def trials(self) -> int:
        """Of all kinds, teachers counted in."""
        return sum(cost.kind.trials for cost in self.costs)

    @property
    def student_updates(self) -> float:
        """Of all trials."""
        return sum(cost.kind.trials * cost.kind.share.expected * cost.student_updates for cost in self.costs)

    @property
    def hours(self) -> Span | None:
        """All trials one after the other, each on its part of a machine."""
        return self._in_all(lambda cost: cost.hours)

    @property
    def gpu_hours(self) -> Span | None:
        """Hours of GPUs, half of one counting half."""
        return self._in_all(lambda cost: cost.gpu_hours)

    @property
    def usd(self) -> Span | None:
        """What all of it costs."""
        return self._in_all(lambda cost: cost.usd)

    @property
    def refusals_here(self) -> list[str]:
        """Why this machine would refuse trials that run on its cores; empty where none would be."""
        if self.sweep.gpus_per_trial:
            return []
        device = torch.device("cpu")
        return sorted({reason for c in proposed_configs(self.sweep, self.domains) if (reason := why_slow(c, device))})

    def if_stopped(self, *, least: bool) -> Plan:
        """The same where as many trials as may be are stopped at once, or none is."""

        def with_share(cost: CostEstimate) -> CostEstimate:
            share = cost.kind.share.least if least else 1.0
            return replace(cost, kind=replace(cost.kind, share=UsedShare(least=share, expected=share)))

        return replace(self, costs=[with_share(cost) for cost in self.costs])

    def _in_all(self, of: Callable[[CostEstimate], Span | None]) -> Span | None:
        """The sum over all trials; none where a part is not known."""
        parts = [times(of(cost), cost.kind.trials * cost.kind.share.expected) for cost in self.costs]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return sum(low for low, _ in known), sum(high for _, high in known)


def times(span: Span | None, factor: float) -> Span | None:
    """So many times as much."""
    return None if span is None else (factor * span[0], factor * span[1])


def make_plan(
    sweep: SweepConfig,
    *,
    past: SweepStore | None = None,
    pricing: Pricing = NO_PRICES,
    measure: Say | None = None,
) -> Plan:
    """Find out what each kind of trial of a sweep takes, and each teacher that it would train.

    Of a search it is the settings that all trials share, with the published values of those that it varies.

    Args:
        sweep: What would be run.
        past: This sweep, if it has begun, on the storage where earlier sweeps and teachers are; none: there is no storage.
        pricing: The machines on which it would run, with their prices.
        measure: Is told what is being timed; none: nothing is timed, but counted.

    Raises:
        ConfigError: a trial fits no machine of the cluster, or cannot be timed here.
    """
    asked, sweep = sweep, _settled(sweep, pricing, measure)
    # Where a GPU may come that is not here, hours of this machine's cores say nothing of money.
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
    """Which trials it is to have and has had, from a copy of its study, and what it varies."""
    space, domains = resolve_domains(sweep)
    study = optuna.create_study(
        directions=["maximize" if mode == "max" else "minimize" for mode in sweep.directions.values()] or ["maximize"]
    )
    if past:
        study.add_trials(WatchedStudy(past).trials())
    failed = failed_cases(past) if past else frozenset()
    return Workload(sweep=sweep, study=study, completed_elsewhere={}, failed=failed, space=space), domains


def _spent(past: SweepStore) -> CostAmount:
    """What its trials have cost; of those on machines without a price nothing, as far as money goes."""
    each = map(CostAmount.of_trial, SweepResults(past).trials())
    return sum((replace(spent, usd=spent.usd or 0.0) for spent in each), NOTHING)


def _settled(sweep: SweepConfig, pricing: Pricing, measure: Say | None) -> SweepConfig:
    """A sweep with what its session would settle: whether its trials have GPUs, what a budget in seconds is."""
    here = torch.cuda.device_count() if measure else 0
    if measure and sweep.resources.gpu != "auto" and sweep.resources.gpu > 0 and not here:
        raise ConfigError(
            "--measure: these trials take a GPU, and this machine has none: leave --measure out, or run it where one is"
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
        measure("timing how many operations a trial has in its seconds ...")
        return sweep.with_speed(flops_per_second(config, cpus=cpus, gpus=gpus))
    work = step_work(config)
    span = pricing.seconds(work, cpus=cpus, gpus=gpus)
    if span is None:
        raise ConfigError(
            f"a trial asks for {cpus:g} CPU cores and {gpus:g} GPUs, and no machine with a price has as many: name one in a "
            "file for --prices, or a cluster with --cluster"
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
    """Each teacher that is neither a file nor on the storage."""
    wanted = [config for config in sweep.configs() if config.teacher_key and config.teacher_checkpoint is None]
    recipes = {config.teacher_key: sweep.teacher_config(config) for config in wanted}.values()
    registry = TeacherRegistry(store.below(TEACHERS)) if store else None
    return [recipe for recipe in recipes if registry is None or not registry.holds(recipe)]


def _place(sweep: SweepConfig, pricing: Pricing, *, open_share: bool) -> Place:
    """Where its trials would run: on the cluster, or where none is named, here too."""
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
    # Where the share was left open they have had parts of a GPU: it is what they held that is paid for.
    held = (past.gpu_hours[0] * 3600 / gpus, past.gpu_hours[1] * 3600 / gpus) if gpus else past.seconds
    usd = past.usd or pricing.usd_of_time(held, cpus=sweep.resources.cpu, gpus=gpus)
    return CostEstimate(kind=kind, seconds=past.seconds, gpu_hours=past.gpu_hours, usd=usd, source="earlier", past=past)


def _timed(kind: Kind, sweep: SweepConfig, pricing: Pricing) -> CostEstimate:
    cpus, gpus = sweep.resources.cpu, sweep.gpus_per_trial
    alone = timed_seconds(kind.config, cpus=cpus, gpus=gpus)
    # With a part of a GPU as fast as here, where its neighbours leave it idle enough, or with that part of its speed.
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
