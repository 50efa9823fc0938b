"""``zskt plan``: what a sweep costs, before it starts: from earlier sweeps, or from a short probe on this machine.

Trials of the same kind that have ended on the storage say best what such a trial takes, and what it cost. Where there are
none, a few pseudo batches, or updates, are run with untrained networks of the right shapes: what they cost does not
depend on what the networks know. Teachers and data sets are not needed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from rich.table import Table

from orchestrator.config import SweepConfig
from orchestrator.earlier import Earlier, earlier_trials
from orchestrator.market import NO_MARKET, Market
from trainables.config import AnyTrialConfig, SupervisedConfig, ZeroShotConfig
from trainables.datasets import find_spec
from trainables.devices import claim_device
from trainables.distiller import ZeroShotDistiller
from trainables.evaluation import DataFreeScorer, transition_curves
from trainables.flops import pseudo_batch_flops
from trainables.object_store import ObjectStore
from trainables.stand_ins import Agreeing, blank_probe, blank_splits, untrained_teacher
from trainables.supervised import SupervisedTrainer
from trainables.training import Training

_TIMED_IMAGES = 256
"""Images on which it is timed what evaluating costs."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What trials of one kind take."""

    name: str
    trials: int
    unit: str
    budget: int
    """Of ``unit``, for one trial."""
    student_updates: int
    """For one trial."""
    seconds: float
    """For one trial, on the probed device; evaluating counted in."""

    gpu_hours: float
    """For one trial; 0 on CPUs."""

    usd: tuple[float, float] | None
    """For one trial, from and to; none where it is not known."""

    earlier: Earlier | None = None
    """The trials of earlier sweeps that tell; none: it was probed here."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a whole sweep takes."""

    costs: list[Cost]
    device: str
    threads: int

    @property
    def trials(self) -> int:
        """Of all kinds, teachers counted in."""
        return sum(cost.trials for cost in self.costs)

    @property
    def hours(self) -> float:
        """Hours of one device, all trials one after the other."""
        return sum(cost.trials * cost.seconds for cost in self.costs) / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours of GPUs, half of one counting half."""
        return sum(cost.trials * cost.gpu_hours for cost in self.costs)

    @property
    def usd(self) -> tuple[float, float] | None:
        """What all of it costs, from and to; none where a part is not known."""
        ranges = [(cost.trials * cost.usd[0], cost.trials * cost.usd[1]) for cost in self.costs if cost.usd]
        return (
            (sum(low for low, _ in ranges), sum(high for _, high in ranges)) if len(ranges) == len(self.costs) else None
        )

    def sentences(self) -> list[str]:
        """What it comes to, and what that rests on."""
        gpus = f"{self.gpu_hours:.3g} GPU hours" if self.gpu_hours else "no GPU hours"
        cost = f"{self.usd[0]:.2f} to {self.usd[1]:.2f} USD" if self.usd else "at an unknown price"
        lines = [f"{self.trials} trials, {gpus}, {cost}."]
        known = [cost.earlier for cost in self.costs if cost.earlier]
        if known:
            machines = sorted({machine for earlier in known for machine in earlier.machines})
            where = f" on {', '.join(machines)}" if machines else ""
            lines.append(f"Measured by {sum(earlier.trials for earlier in known)} trials of earlier sweeps{where}.")
        if len(known) < len(self.costs):
            what = "GPU" if self.device == "cuda" else f"CPU thread{'' if self.threads == 1 else 's'}"
            count = 1 if self.device == "cuda" else self.threads
            rest = "The others: hours" if known else "Hours"
            lines.append(f"{rest} of {count} {what} of this machine, estimated from a probe of a few steps.")
        return lines

    def table(self) -> Table:
        """A line for each kind of trial, and the sum."""
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        headings = ("what", "trials", "each", "student updates each", "hours each", "hours in all", "GPU hours", "USD")
        for heading in headings:
            table.add_column(heading, justify="left" if heading == "what" else "right")
        for cost in self.costs:
            each = f"{cost.budget:,} {cost.unit.replace('_', ' ')}"
            hours = cost.seconds / 3600
            table.add_row(
                cost.name,
                str(cost.trials),
                each,
                f"{cost.student_updates:,}",
                f"{hours:.3g}",
                f"{cost.trials * hours:.3g}",
                f"{cost.trials * cost.gpu_hours:.3g}",
                _usd(cost.usd, cost.trials),
            )
        updates = sum(cost.trials * cost.student_updates for cost in self.costs)
        sums = (f"{self.hours:.3g}", f"{self.gpu_hours:.3g}", _usd(self.usd, 1))
        table.add_row("in all", str(self.trials), "", f"{updates:,}", "", *sums, style="bold")
        return table


def _usd(amounts: tuple[float, float] | None, trials: int) -> str:
    return "" if amounts is None else f"{trials * amounts[0]:.2f} to {trials * amounts[1]:.2f}"


def make_plan(sweep: SweepConfig, *, store: ObjectStore | None = None, market: Market = NO_MARKET) -> Plan:
    """Find out what each kind of trial of a sweep takes, and each teacher that it would train.

    Of a search it is the settings that all trials share, with the published values of those that it varies; what early
    stopping would save is not counted.

    Args:
        sweep: What would be run.
        store: Where earlier sweeps are; none: everything is probed.
        market: What it would run on.
    """
    gpus = torch.cuda.device_count()
    without_gpu = sweep.resources.gpu == "auto" and not gpus
    wanted_gpus = 1.0 if sweep.resources.gpu == "auto" else sweep.resources.gpu
    sweep = sweep.on_cluster(gpus=gpus)
    if sweep.equal_budget is not None and not sweep.equal_budget.is_known:
        speed = flops_per_second(sweep.configs()[0], cpus=sweep.resources.cpu, gpus=sweep.gpus_per_trial)
        sweep = sweep.with_speed(speed)
    device = claim_device(cpus=sweep.resources.cpu, gpus=sweep.gpus_per_trial)
    # Where a GPU is wanted that is not here, hours of this machine's cores say nothing of money.
    of_probes = NO_MARKET if without_gpu else market

    def _cost(name: str, trials: int, config: AnyTrialConfig) -> Cost:
        earlier = earlier_trials(store, config, on_gpu=wanted_gpus > 0) if store else None
        seconds = earlier.seconds if earlier else _probed_seconds(config, device)
        gpus = sweep.gpus_per_trial if device.type == "cuda" else 0.0
        return Cost(
            name=name,
            trials=trials,
            unit=config.unit,
            budget=config.budget,
            student_updates=config.budget * _updates_per_unit(config),
            seconds=seconds,
            gpu_hours=earlier.gpu_hours if earlier else gpus * seconds / 3600,
            usd=earlier.usd
            if earlier and earlier.usd
            else of_probes.range(seconds, cpus=sweep.resources.cpu, gpus=gpus),
            earlier=earlier,
        )

    costs = []
    for config in _teachers_to_train(sweep):
        costs.append(_cost(f"teacher {config.student} on {config.dataset}", 1, config))
    if sweep.cases:
        for case in sweep.only or sweep.cases:
            config_of_case = next(
                sweep.case_config(assignment) for assignment in sweep.assignments() if assignment.case == case
            )
            costs.append(_cost(case, len(sweep.seeds), config_of_case))
    else:
        costs.append(_cost("trial", sweep.num_trials, sweep.configs()[0]))
    return Plan(costs=costs, device=device.type, threads=torch.get_num_threads())


def flops_per_second(config: AnyTrialConfig, *, cpus: float, gpus: float) -> float:
    """How fast this process trains such a trial, from a short probe; operations as in ``trainables.flops``."""
    assert isinstance(config, ZeroShotConfig)  # budgets are of zero-shot trials
    step, _, _ = _probe(config, claim_device(cpus=cpus, gpus=gpus))
    return pseudo_batch_flops(config) / step


def _teachers_to_train(sweep: SweepConfig) -> list[SupervisedConfig]:
    wanted = [config for config in sweep.configs() if config.teacher_key and config.teacher_checkpoint is None]
    return list({config.teacher_key: sweep.teacher_config(config) for config in wanted}.values())


def _probed_seconds(config: AnyTrialConfig, device: torch.device) -> float:
    """For a whole trial, from a few steps of it."""
    step, evaluation, training = _probe(config, device)
    reports = config.budget / config.report_interval
    return training_steps(config) * step + reports * evaluation + _transition_seconds(training, device)


def training_steps(config: AnyTrialConfig) -> int:
    """Pseudo batches of a whole trial, or updates of a supervised one."""
    return config.budget if isinstance(config, ZeroShotConfig) else config.budget * _updates_per_unit(config)


def _updates_per_unit(config: AnyTrialConfig) -> int:
    if isinstance(config, ZeroShotConfig):
        return config.student_steps
    spec = find_spec(config.dataset)
    few = config.images_per_class and config.images_per_class * spec.num_classes
    images = few or round(spec.training_images * (1 - config.validation_fraction))
    return -(-images // config.batch_size)


def _probe(config: AnyTrialConfig, device: torch.device) -> tuple[float, float, Training]:
    """Seconds of a pseudo batch, or of an update, and of measuring the student once; and the training that was probed."""
    spec = find_spec(config.dataset)
    train = max(config.batch_size, spec.num_classes * (config.batch_size // spec.num_classes + 1))
    splits = blank_splits(config, train=train, test=_TIMED_IMAGES)
    teacher = untrained_teacher(config) if config.teacher else None
    measure: Callable[[], object]
    training: Training
    scoring = 0.0
    if isinstance(config, ZeroShotConfig):
        assert teacher is not None  # its config always names one
        # A whole pseudo batch can take a minute on a CPU, so the student's steps are counted from one and two of them.
        # Compiling would take longer than it saves here; a compiled trial will be a little cheaper than this says.
        one, two = (
            ZeroShotDistiller(
                config.model_copy(update={"student_steps": steps, "compilation": "never", "data_free_scores": False}),
                teacher=teacher,
                splits=splits,
                device=device,
            )
            for steps in (1, 2)
        )
        with_one, with_two = (_seconds(partial(distiller.train, 1), device) for distiller in (one, two))
        step = with_one + max(0.0, with_two - with_one) * (config.student_steps - 1)
        measure, training = two.report, two
        if config.data_free_scores:
            scorer = DataFreeScorer(blank_probe(config), two.teacher)
            scoring = _seconds(partial(scorer.score, two.student), device)
    else:
        few = config.model_copy(update={"images_per_class": None, "initial_student": None})
        trainer = SupervisedTrainer(few, splits=splits, teacher=teacher, device=device)
        step = _seconds(trainer.update, device)
        measure, training = trainer.report, trainer
    validation = round(spec.training_images * config.validation_fraction)
    share = (spec.test_images + validation) / _TIMED_IMAGES if config.reads_images else 0.0
    return step, _seconds(measure, device) * share + scoring, training


_CURVE_STEPS = 100
"""Steps of a trial's transition curves: the default of ``transition_curves``."""

_PROBE_CURVES = 8
"""Images, and so many steps, on which the probe measures what curves cost."""


def _transition_seconds(training: Training, device: torch.device) -> float:
    """Of the transition curves at a trial's end; 0 where it has none."""
    images = min(training.config.transition_images, training.splits.spec.test_images)
    if not images or training.teacher is None:
        return 0.0
    student, teacher = Agreeing(training.student), Agreeing(training.teacher)
    curves = partial(transition_curves, student, teacher, training.splits.test, training.normalisation)
    seconds = _seconds(partial(curves, images=_PROBE_CURVES, steps=_PROBE_CURVES), device)
    return seconds * images * _CURVE_STEPS / _PROBE_CURVES**2


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median time of a call, after one that warms up; as many as fit into a second, 1 to 9."""
    times: list[float] = []
    while len(times) < 2 or (sum(times[1:]) < 1 and len(times) < 10):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
