"""``zskt plan``: what a sweep costs, before it starts. Hours come from a short measured probe on this machine.

A few pseudo batches, or updates, of each kind of trial are run with untrained networks of the right shapes: what they
cost does not depend on what the networks know. Teachers and data sets are not needed.
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
from trainables.config import AnyTrialConfig, SupervisedConfig, ZeroShotConfig
from trainables.datasets import SPECS
from trainables.devices import claim_device
from trainables.distiller import ZeroShotDistiller
from trainables.flops import pseudo_batch_flops
from trainables.stand_ins import blank_splits, untrained_teacher
from trainables.supervised import SupervisedTrainer

PROBE_IMAGES = 256
"""Images on which the probe measures what evaluating costs."""


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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a whole sweep takes."""

    costs: list[Cost]
    device: str
    threads: int

    @property
    def hours(self) -> float:
        """Hours of one device, all trials one after the other."""
        return sum(cost.trials * cost.seconds for cost in self.costs) / 3600

    def table(self) -> Table:
        """A line for each kind of trial, and the sum."""
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for heading in ("what", "trials", "each", "student updates each", "hours each", "hours in all"):
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
            )
        trials = sum(cost.trials for cost in self.costs)
        updates = sum(cost.trials * cost.student_updates for cost in self.costs)
        table.add_row("in all", str(trials), "", f"{updates:,}", "", f"{self.hours:.3g}", style="bold")
        return table


def make_plan(sweep: SweepConfig) -> Plan:
    """Probe each kind of trial of a sweep, and each teacher that it would train.

    Of a search the settings that all trials share are probed, with the published values of those that it varies; what
    early stopping would save is not counted.
    """
    gpus = torch.cuda.device_count()
    sweep = sweep.on_cluster(gpus=gpus)
    if sweep.equal_budget is not None and not sweep.equal_budget.is_known:
        speed = flops_per_second(sweep.configs()[0], cpus=sweep.resources.cpu, gpus=sweep.gpus_per_trial)
        sweep = sweep.with_speed(speed)
    device = claim_device(cpus=sweep.resources.cpu, gpus=sweep.gpus_per_trial)
    costs = []
    for config in _teachers_to_train(sweep):
        costs.append(_cost(f"teacher {config.student} on {config.dataset}", 1, config, device))
    if sweep.cases:
        for case in sweep.only or sweep.cases:
            config_of_case = next(
                sweep.case_config(assignment) for assignment in sweep.assignments() if assignment.case == case
            )
            costs.append(_cost(case, len(sweep.seeds), config_of_case, device))
    else:
        costs.append(_cost("trial", sweep.num_trials, sweep.configs()[0], device))
    return Plan(costs=costs, device=device.type, threads=torch.get_num_threads())


def flops_per_second(config: AnyTrialConfig, *, cpus: float, gpus: float) -> float:
    """How fast this process trains such a trial, from a short probe; operations as in ``trainables.flops``."""
    assert isinstance(config, ZeroShotConfig)  # budgets are of zero-shot trials
    step, _ = _probe(config, claim_device(cpus=cpus, gpus=gpus))
    return pseudo_batch_flops(config) / step


def _teachers_to_train(sweep: SweepConfig) -> list[SupervisedConfig]:
    wanted = [config for config in sweep.configs() if config.teacher_key and config.teacher_checkpoint is None]
    return list({config.teacher_key: sweep.teacher_config(config) for config in wanted}.values())


def _cost(name: str, trials: int, config: AnyTrialConfig, device: torch.device) -> Cost:
    step, evaluation = _probe(config, device)
    reports = config.budget / config.report_interval
    per_unit = _updates_per_unit(config)
    steps = config.budget if isinstance(config, ZeroShotConfig) else config.budget * per_unit
    return Cost(
        name=name,
        trials=trials,
        unit=config.unit,
        budget=config.budget,
        student_updates=config.budget * per_unit,
        seconds=steps * step + reports * evaluation,
    )


def _updates_per_unit(config: AnyTrialConfig) -> int:
    if isinstance(config, ZeroShotConfig):
        return config.student_steps
    spec = SPECS[config.dataset]
    few = config.images_per_class and config.images_per_class * spec.num_classes
    images = few or round(spec.training_images * (1 - config.validation_fraction))
    return -(-images // config.batch_size)


def _probe(config: AnyTrialConfig, device: torch.device) -> tuple[float, float]:
    """Seconds of a pseudo batch, or of an update, and of measuring the student once."""
    spec = SPECS[config.dataset]
    train = max(config.batch_size, spec.num_classes * (config.batch_size // spec.num_classes + 1))
    splits = blank_splits(config, train=train, test=PROBE_IMAGES)
    teacher = untrained_teacher(config) if config.teacher else None
    measure: Callable[[], object]
    if isinstance(config, ZeroShotConfig):
        assert teacher is not None  # its config always names one
        # A whole pseudo batch can take a minute on a CPU, so the student's steps are counted from one and two of them.
        # Compiling would take longer than it saves here; a compiled trial will be a little cheaper than this says.
        one, two = (
            ZeroShotDistiller(
                config.model_copy(update={"student_steps": steps, "compilation": "never"}),
                teacher=teacher,
                splits=splits,
                device=device,
            )
            for steps in (1, 2)
        )
        with_one, with_two = (_seconds(partial(distiller.train, 1), device) for distiller in (one, two))
        step = with_one + max(0.0, with_two - with_one) * (config.student_steps - 1)
        measure = two.report
    else:
        few = config.model_copy(update={"images_per_class": None, "initial_student": None})
        trainer = SupervisedTrainer(few, splits=splits, teacher=teacher, device=device)
        step = _seconds(trainer.update, device)
        measure = trainer.report
    validation = round(spec.training_images * config.validation_fraction)
    share = (spec.test_images + validation) / PROBE_IMAGES
    return step, _seconds(measure, device) * share


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
