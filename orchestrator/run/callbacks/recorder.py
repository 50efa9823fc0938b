"""Records each report and each end of a trial, in an order in which a crash loses nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from orchestrator.config import SweepConfig
from orchestrator.costs.ledger import CostLedger
from orchestrator.costs.limit import spent_in_words
from orchestrator.errors import ConfigError
from orchestrator.monitor.live import Progress
from orchestrator.results.records import TrialState
from orchestrator.results.recoveries import CAUSES, causes_json
from orchestrator.results.schema import CONFIG_PREFIX, MACHINE_COLUMNS
from orchestrator.results.writer import ResultWriter
from orchestrator.run.callbacks.base import TrialCallback, TrialFailure
from orchestrator.run.checks import check_first_report
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.search.trial_queue import SweepTrial
from trainables.errors import StorageOutageError, StorageRefusedError
from trainables.metrics import METRICS, finite
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.teachers.teacher import Teacher
from trainables.trial import TrialInputs
from trainables.trial_result import (
    ALLOCATION,
    FAILURE,
    MACHINE_NOTES,
    NOTES,
    OUT_OF_MEMORY,
    Allocation,
)

_METRIC_NAMES = [metric.name for metric in METRICS]


class SweepRecorder(TrialCallback):
    """Records a report or the end of a trial: first in its row, then in the study, then on the display.

    The row is written before the study. If the driver dies in between, the study still has the trial as running, so the
    trial is resumed from its last checkpoint and writes the same row again. In the opposite order the row would be lost.
    """

    def __init__(
        self,
        *,
        sweep: SweepConfig,
        writer: ResultWriter,
        search: SweepSearch,
        inputs: TrialInputs,
        progress: Progress,
        ledger: CostLedger | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._sweep = sweep
        self._writer = writer
        self._search = search
        self._inputs = inputs
        self._progress = progress
        self._ledger = ledger or CostLedger()
        self._clock = clock
        self._last: dict[str, dict[str, Any]] = {}
        self._recoveries: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._failures: dict[str, str] = {}
        self._short_of_memory: dict[str, float] = {}
        self._grown: set[str] = set()
        self._said: set[str] = set()

    def on_trial_start(self, trial: SweepTrial) -> None:
        """Start counting the trial's costs, and show the trial."""
        self._ledger.started(trial.key)
        self._progress.started(trial.key, trial.flat, trial.config)

    def on_trial_report(self, trial: SweepTrial, result: Mapping[str, Any]) -> None:
        """Record a report: in its row, then in the study, then on the display."""
        if self._search.health.failure:
            return
        key, config = trial.key, trial.config
        allocation = Allocation(**result[ALLOCATION])
        if FAILURE in result:
            self._ledger.reported(key, allocation, share=0.0)
            self._failures[key] = result[FAILURE]
            if result[OUT_OF_MEMORY]:
                self._short_of_memory[key] = allocation.gpus
            return
        columns = (*_METRIC_NAMES, *config.own_metrics, *MACHINE_COLUMNS)
        report: dict[str, Any] = {name: result.get(name) for name in columns}
        if key not in self._last:
            try:
                check_first_report(self._sweep, key, report)
            except ConfigError as error:
                self._search.health.fail(error)
                return
        self._last[key] = report
        costs = self._ledger.reported(key, allocation, share=report[config.unit] / config.budget)
        value = finite(self._objective(report))
        with self._search.health.capture_errors():
            row = {"trial_id": key, "reported_at": self._clock.now(), **report, **costs}
            self._writer.write_report(row, config.own_metrics)
            if value is not None:
                self._search.report(key, self._sweep.budget_used(config, report), value)
        self._progress.view.spent = spent_in_words(self._ledger, self._sweep.budget)
        self._progress.reported(key, report)
        for note in result.get(NOTES, ()):
            self._progress.warn(f"{key}: {note}")
        for note in result.get(MACHINE_NOTES, ()):
            line = f"{report['hostname']}: {note}"
            if line not in self._said:
                self._said.add(line)
                self._progress.warn(line)

    def on_trial_end(self, trial: SweepTrial) -> None:
        """Record the state in which a trial ended, which follows from its last report."""
        report = self._last.get(trial.key)
        failure = self._failures.pop(trial.key, None)
        if failure is not None:
            if not self._gets_more_memory(trial, failure):
                self._end(trial, TrialState.FAILED, failure + self._memory_remedy(trial))
        elif report is None:
            self._end(trial, TrialState.FAILED, "ended without a report")
        elif report["diverged"]:
            self._end(trial, TrialState.DIVERGED, "")
        else:
            config = trial.config
            used_up = self._sweep.share_used(config, report) >= 1
            missing = [name for name in self._sweep.directions if finite(report[name]) is None]
            if used_up and missing:
                self._end(
                    trial,
                    TrialState.FAILED,
                    f"ended without a value of {', '.join(missing)}, which the search optimises",
                )
            else:
                self._end(trial, TrialState.COMPLETED if used_up else TrialState.STOPPED_EARLY, "")

    def on_trial_recover(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """Record the cause of a trial's recovery."""
        self._recover(trial.key, failure.cause)
        self._look_for_outage(failure)

    def on_trial_error(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """Record that a trial has failed, or have the trial run again if its machine was lost."""
        self._look_for_outage(failure)
        if failure.without_machine:
            # Tune does not resume a trial whose machine was lost before the trial started, or without a retry left.
            self._recover(trial.key, failure.cause)
            self._search.run_again(trial.key)
        else:
            self._end(trial, TrialState.FAILED, failure.cause)

    def _recover(self, key: str, cause: str) -> None:
        self._ledger.lost(key)
        self._recoveries[key][cause] += 1
        self._progress.recovering(key, cause)

    def _gets_more_memory(self, trial: SweepTrial, failure: str) -> bool:
        """Resume a trial that ran out of GPU memory on a share of a GPU with twice that share, once.

        Returns:
            Whether the trial is resumed.
        """
        key = trial.key
        had = self._short_of_memory.get(key, 1.0)
        if had >= 1 or key in self._grown:
            return False
        self._grown.add(key)
        more = min(1.0, 2 * had)
        self._recover(key, f"{failure}; it had {had:g} of a GPU and gets {more:g}")
        self._search.run_again(key, gpus=more)
        return True

    def _memory_remedy(self, trial: SweepTrial) -> str:
        had = self._short_of_memory.pop(trial.key, None)
        if had is None:
            return ""
        return f"; it had {had:g} of a GPU: lower batch_size, or give every trial more with --gpus"

    def _look_for_outage(self, failure: TrialFailure) -> None:
        """End the session if a trial failed because of storage, so that the trial does not count as failed."""
        if isinstance(failure.error, StorageOutageError | StorageRefusedError):
            self._search.health.fail(failure.error)

    def _end(self, trial: SweepTrial, state: TrialState, error: str) -> None:
        if self._search.health.failure:
            return  # the study still has the trial as running, so the next session resumes it
        key, config = trial.key, trial.config
        report = self._last.pop(key, {})
        causes = self._recoveries.pop(key, Counter())
        value = self._objective(report)
        teacher = self._inputs.teacher_of(config)
        row = {
            "trial_id": key,
            "trial_number": int(key[1:]),
            "case": trial.case,
            "state": state,
            "error": error,
            "objective": value,
            "feasible": self._sweep.keeps_constraints(report),
            "recoveries": causes.total(),
            CAUSES: causes_json(causes),
            "ended_at": self._clock.now(),
            **_teacher_columns(teacher),
            **{CONFIG_PREFIX + name: setting for name, setting in trial.settings.items()},
            **report,
            **self._ledger.ended(key),
        }
        with self._search.health.capture_errors():
            self._writer.write_trial(row, config.own_metrics)
            self._search.tell(key, state, report, share=self._sweep.share_used(config, report) if report else 0)
            self._progress.ended(key, state, error)

    def _objective(self, report: dict[str, Any]) -> float | None:
        return report.get(self._sweep.objective) if self._sweep.objective else None


def _teacher_columns(teacher: Teacher | None) -> dict[str, Any]:
    if teacher is None:
        return {}
    return {
        "teacher_sha256": teacher.metadata.sha256,
        "teacher_validation_accuracy": teacher.metadata.validation_accuracy,
        "teacher_test_accuracy": teacher.metadata.test_accuracy,
    }
