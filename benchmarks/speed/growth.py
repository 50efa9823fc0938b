"""Cost of thousands of trials for the driver: this project's sweep against plain Tune with OptunaSearch.

    python -m benchmarks.speed.growth --trials 3000

The trials of both sides do no work: they report and end. Our side has the search with its journal, the recorder and the
results on a local disk, as in every sweep. The plain side has Tune's searcher in memory and saves what Tune saves by
default, its own state every ten seconds. Neither side stops trials early, so both make all reports. Both sample with TPE
from the same space, and run one after the other on one Ray.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import optuna
import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console

from cluster.session import ray_session
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.results import read_trials
from orchestrator.run.callbacks.recorder import SweepRecorder
from orchestrator.run.sweep import run_sweep
from orchestrator.run.tune import tune_environment
from orchestrator.search.trial_queue import SweepTrial
from orchestrator.storage import open_storage
from trainables.metrics import METRICS
from trainables.profiling.dummies import dummy_splits, dummy_teacher
from trainables.trial import TrialInputs
from trainables.trial_result import ALLOCATION, MACHINE_NOTES, NOTES

REPORTS_EACH = 4
BUDGET = 81


@dataclass(frozen=True, kw_only=True)
class Side:
    """Times of one side of the comparison."""

    ends: Sequence[float]
    """Seconds from the start at which each trial ended."""

    seconds: float
    """Seconds from the start until the sweep returned."""

    @property
    def after(self) -> float:
        """Seconds from the end of the last trial until the sweep returned; our side compacts its rows in this time."""
        return self.seconds - self.ends[-1]


class Costless(tune.Trainable):
    """A trial without work: it reports an accuracy computed from its settings a few times, and ends."""

    def setup(self, config: dict[str, Any]) -> None:
        """Start a trial."""
        self._settings = config
        self._reports = 0

    def step(self) -> dict[str, Any]:
        """Return one report."""
        self._reports += 1
        share = self._reports / REPORTS_EACH
        value = share / (1 + abs(self._settings["temperature"] - 3) + abs(self._settings["student_steps"] - 10))
        done = round(BUDGET * share)
        report = {metric.name: metric.kind(0) for metric in METRICS if metric.is_reported_by(["zero_shot"])}
        report |= {"pseudo_batches": done, "student_updates": done, "validation_accuracy": value, "diverged": False}
        machine = {"hostname": "here", "device": "cpu", "device_name": "", "threads": 1, "compiled": False}
        allocation = {
            "node_id": ray.get_runtime_context().get_node_id(),
            "cpus": 1,
            "gpus": 0,
            "seconds": self._reports,
        }
        return {
            **report,
            **machine,
            ALLOCATION: allocation,
            "done": self._reports == REPORTS_EACH,
            NOTES: [],
            MACHINE_NOTES: [],
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next trial in the same process."""
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Load nothing."""


class EndTimes(tune.Callback):
    """Tune callback that records the time at which each trial ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the time; Tune calls this method when a trial has ended."""
        self.times.append(time.perf_counter())


def bare(trials: int, at_once: int) -> Side:
    """Time plain Tune with OptunaSearch."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ends = EndTimes()
    space = {
        "temperature": optuna.distributions.FloatDistribution(0.5, 8.0, log=True),
        "student_steps": optuna.distributions.IntDistribution(1, 30),
    }
    search = OptunaSearch(
        space=space, metric="validation_accuracy", mode="max", sampler=optuna.samplers.TPESampler(seed=0)
    )
    # A sweep turns off Tune's saving of its own state. Here it is turned on again, since plain Tune saves nothing else.
    keeps_state = patch.dict(os.environ, {"TUNE_GLOBAL_CHECKPOINT_S": "auto"})
    with tempfile.TemporaryDirectory() as folder, keeps_state:
        tuner = tune.Tuner(
            tune.with_resources(Costless, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=search, num_samples=trials, max_concurrent_trials=at_once, reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=folder, callbacks=[ends], verbose=0),
        )
        start = time.perf_counter()
        tuner.fit()
        seconds = time.perf_counter() - start
    return Side(ends=[end - start for end in ends.times], seconds=seconds)


def make_sweep(storage: str, trials: int) -> SweepConfig:
    """Return the sweep: a search over the same two fields as in ``bare``."""
    sweep = load_sweep(
        "quickstart",
        flags={
            "storage": storage,
            "num_trials": trials,
            "space": {
                "temperature": {"type": "float", "low": 0.5, "high": 8.0, "log": True},
                "student_steps": {"type": "int", "low": 1, "high": 30},
            },
        },
        assignments=[f"total_pseudo_batches={BUDGET}"],
    )
    # A whole block, since the other fields of the preset's block belong to another kind.
    return SweepConfig.model_validate(sweep.model_dump() | {"scheduler": {"name": "none"}})


def ours(trials: int) -> tuple[Side, int]:
    """Time this project's sweep; return its times and the number of rows in its results."""
    ends = EndTimes()

    class Recorder(SweepRecorder):
        def on_trial_end(self, trial: SweepTrial) -> None:
            super().on_trial_end(trial)
            ends.times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as storage:
        sweep = make_sweep(storage, trials)
        with (
            patch("orchestrator.run.tune.TrialTrainable", Costless),
            patch("orchestrator.run.session.prepare_inputs", lambda *args, **kwargs: stand_in_inputs(sweep)),
            patch("orchestrator.run.tune.tune.with_parameters", lambda trainable, **kwargs: trainable),
            patch("orchestrator.run.session.SweepRecorder", Recorder),
        ):
            start = time.perf_counter()
            run_sweep(sweep, sweep_id="growth", console=Console(quiet=True))
            seconds = time.perf_counter() - start
        rows = len(read_trials(open_storage(storage), "growth"))
    return Side(ends=[end - start for end in ends.times], seconds=seconds), rows


def stand_in_inputs(sweep: SweepConfig) -> TrialInputs:
    """Return dummy inputs for a sweep whose trials do not use them."""
    config = sweep.configs()[0]
    assert config.teacher_key is not None
    return TrialInputs(
        splits={config.splits_key: dummy_splits(config, train=0, test=1)},
        teachers={config.teacher_key: dummy_teacher(config)},
    )


def rates(ends: Sequence[float]) -> str:
    """Format the milliseconds for each trial over the first and over the last third of the trials."""
    third = len(ends) // 3
    first = ends[third - 1] / third
    last = (ends[-1] - ends[-third - 1]) / third
    return f"{1e3 * first:.0f} | {1e3 * last:.0f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both sides and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=3000, help="number of trials, at least 3")
    chosen = parser.parse_args(arguments)
    with tune_environment(), ray_session("local") as session:
        at_once = int(session.cpus)
        plain = bare(chosen.trials, at_once)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        own, rows = ours(chosen.trials)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\n{chosen.trials} trials that cost nothing, {REPORTS_EACH} reports each, {at_once} at a time\n")
    print("| side | s in all | ms a trial, first third | last third | driver's largest memory so far, MB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    print(f"| bare Tune with OptunaSearch | {plain.seconds:.0f} | {rates(plain.ends)} | {before / 1024:.0f} |")
    print(f"| this project ({rows} rows) | {own.seconds:.0f} | {rates(own.ends)} | {memory / 1024:.0f} |")
    print(
        f"\nratio {own.seconds / plain.seconds:.2f}; {own.after:.0f} s ({plain.after:.0f} s bare) after the last trial"
    )


if __name__ == "__main__":
    main()
