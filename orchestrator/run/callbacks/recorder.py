"""What the driver does with each report and each end of a trial, in the order that keeps a crash harmless."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial

from cluster.process_failures import cause_of_failure, is_without_machine, last_failure
from orchestrator.config import SweepConfig
from orchestrator.costs.ledger import Expenses
from orchestrator.costs.limit import spent_in_words
from orchestrator.errors import ConfigError
from orchestrator.monitor.live import Progress
from orchestrator.results.recoveries import CAUSES, causes_json
from orchestrator.results.schema import CONFIG_PREFIX, MACHINE_COLUMNS
from orchestrator.results.writer import ResultWriter
from orchestrator.run.checks import check_first_report
from orchestrator.search.outcomes import EndState
from orchestrator.search.sweep_search import StudySearcher
from trainables.errors import StorageOutageError, StorageRefusedError
from trainables.metrics import METRICS, finite
from trainables.teachers.teacher import Teacher
from trainables.trial import TrialInputs
from trainables.trial_result import (
    FAILURE,
    HOLD,
    MACHINE_NOTES,
    NOTES,
    OUT_OF_MEMORY,
    Hold,
    parse_settings,
    trial_settings,
)

_METRIC_NAMES = [metric.name for metric in METRICS]


class SweepRecorder(Callback):
    """Report or end of a trial: first its row, then the study, then the display.

    A row is written before the study is told, because a trial that the study still believes to be running is run again
    from its last checkpoint and writes the same row, while one told without a row would be lost.
    """

    def __init__(
        self,
        *,
        sweep: SweepConfig,
        writer: ResultWriter,
        searcher: StudySearcher,
        inputs: TrialInputs,
        progress: Progress,
        expenses: Expenses | None = None,
        explain: Callable[[str], str | None] = lambda key: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sweep = sweep
        self._writer = writer
        self._searcher = searcher
        self._inputs = inputs
        self._progress = progress
        self._expenses = expenses or Expenses()
        self._explain = explain
        self._now = now
        self._last: dict[str, dict[str, Any]] = {}
        self._recoveries: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._failures: dict[str, str] = {}
        self._own_failures: dict[str, int] = {}  # by Tune's id: a trial that is run again begins with none
        self._short_of_memory: dict[str, float] = {}
        self._grown: set[str] = set()
        self._said: set[str] = set()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook."""
        self._expenses.started(trial.config["trial_id"])
        self._progress.started(trial.config["trial_id"], trial.config, parse_settings(trial.config))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Tune's hook; the result includes Tune's own entries."""
        if self._searcher.ended_by:
            return
        key = trial.config["trial_id"]
        config = parse_settings(trial.config)
        hold = Hold(**result[HOLD])
        if FAILURE in result:
            self._expenses.reported(key, hold, share=0.0)
            self._failures[key] = result[FAILURE]
            if result[OUT_OF_MEMORY]:
                self._short_of_memory[key] = hold.gpus
            return
        report: dict[str, Any] = {name: result.get(name) for name in (*_METRIC_NAMES, *MACHINE_COLUMNS)}
        if key not in self._last:
            try:
                check_first_report(self._sweep, key, report)
            except ConfigError as error:
                self._searcher.ended_by = error
                return
        self._last[key] = report
        costs = self._expenses.reported(key, hold, share=report[config.unit] / config.budget)
        value = finite(self._objective(report))
        with self._searcher.watching_storage():
            self._writer.write_report({"trial_id": key, "reported_at": self._now(), **report, **costs})
            if value is not None:
                self._searcher.report(key, self._sweep.budget_used(config, report), value)
        self._progress.view.spent = spent_in_words(self._expenses, self._sweep.budget)
        self._progress.reported(key, report)
        for note in result.get(NOTES, ()):
            self._progress.warn(f"{key}: {note}")
        for note in result.get(MACHINE_NOTES, ()):
            line = f"{report['hostname']}: {note}"
            if line not in self._said:
                self._said.add(line)
                self._progress.warn(line)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook: the trial ended by itself or was stopped early."""
        report = self._last.get(trial.config["trial_id"])
        failure = self._failures.pop(trial.config["trial_id"], None)
        if failure is not None:
            if not self._gets_more_memory(trial, failure):
                self._end(trial, "failed", failure + self._memory_remedy(trial))
        elif report is None:
            self._end(trial, "failed", "ended without a report")
        elif report["diverged"]:
            self._end(trial, "diverged", "")
        else:
            config = parse_settings(trial.config)
            used_up = self._sweep.share_used(config, report) >= 1
            missing = [name for name in self._sweep.directions if finite(report[name]) is None]
            if used_up and missing:
                self._end(trial, "failed", f"ended without a value of {', '.join(missing)}, which the search optimises")
            else:
                self._end(trial, "completed" if used_up else "stopped_early", "")

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook: the trial's process died and it will be continued.

        The loss of a machine says nothing of the trial and uses up none of its ``max_failures``.
        """
        key = trial.config["trial_id"]
        if is_without_machine(last_failure(trial.error_file)):
            # Not one less: Tune itself does not count a loss that was announced.
            trial.run_metadata.num_failures = self._own_failures.get(trial.trial_id, 0)
        else:
            self._own_failures[trial.trial_id] = trial.run_metadata.num_failures
        self._recover(key, self._explain(key) or cause_of_failure(last_failure(trial.error_file)))
        self._look_for_outage(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook: the trial failed for good."""
        self._look_for_outage(trial)
        key = trial.config["trial_id"]
        if is_without_machine(last_failure(trial.error_file)):
            # Tune gives up on a trial whose machine is lost before it has begun there, or that has no retry left.
            self._recover(key, cause_of_failure(last_failure(trial.error_file)))
            self._searcher.run_again(key)
        else:
            self._end(trial, "failed", self._explain(key) or cause_of_failure(last_failure(trial.error_file)))

    def _recover(self, key: str, cause: str) -> None:
        self._expenses.lost(key)
        self._recoveries[key][cause] += 1
        self._progress.recovering(key, cause)

    def _gets_more_memory(self, trial: Trial, failure: str) -> bool:
        """Once, a trial that had part of a GPU and ran out of its memory goes on with twice as much of one."""
        key = trial.config["trial_id"]
        had = self._short_of_memory.get(key, 1.0)
        if had >= 1 or key in self._grown:
            return False
        self._grown.add(key)
        more = min(1.0, 2 * had)
        self._recover(key, f"{failure}; it had {had:g} of a GPU and gets {more:g}")
        self._searcher.run_again(key, gpus=more)
        return True

    def _memory_remedy(self, trial: Trial) -> str:
        had = self._short_of_memory.pop(trial.config["trial_id"], None)
        if had is None:
            return ""
        return f"; it had {had:g} of a GPU: lower batch_size, or give every trial more with --gpus"

    def _look_for_outage(self, trial: Trial) -> None:
        """A trial that could not read its checkpoint because storage was away has not failed: the session has."""
        cause = cause_of_failure(last_failure(trial.error_file))
        for error in (StorageOutageError, StorageRefusedError):
            if error.__name__ in cause:
                told = cause.partition(f"{error.__name__}: ")[2] or cause
                self._searcher.ended_by = self._searcher.ended_by or error(told)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into a file that nobody reads; see StudySearcher.
        return {}

    def _end(self, trial: Trial, state: EndState, error: str) -> None:
        if self._searcher.ended_by:
            return  # still running, as far as the study knows: the next session continues it
        settings = trial_settings(trial.config)
        key, case = trial.config["trial_id"], trial.config.get("case")
        report = self._last.pop(key, {})
        causes = self._recoveries.pop(key, Counter())
        value = self._objective(report)
        config = parse_settings(trial.config)
        teacher = self._inputs.teacher_of(config)
        row = {
            "trial_id": key,
            "trial_number": int(key[1:]),
            "case": case,
            "state": state,
            "error": error,
            "objective": value,
            "feasible": self._sweep.keeps_constraints(report),
            "recoveries": causes.total(),
            CAUSES: causes_json(causes),
            "ended_at": self._now(),
            **_teacher_columns(teacher),
            **{CONFIG_PREFIX + name: setting for name, setting in settings.items()},
            **report,
            **self._expenses.ended(key),
        }
        with self._searcher.watching_storage():
            self._writer.write_trial(row)
            self._searcher.tell(key, state, report, share=self._sweep.share_used(config, report) if report else 0)
            self._progress.ended(key, state, error)

    def _objective(self, report: dict[str, Any]) -> float | None:
        return report.get(self._sweep.objective) if self._sweep.objective else None


class SessionStopper(Stopper):
    """Ends the session where going on would cost compute and come to nothing, and a trial where no more of it is wanted."""

    def __init__(self, searcher: StudySearcher, until: Mapping[str, int] | None = None) -> None:
        """Make the stopper of one session.

        Args:
            searcher: Knows why the session cannot go on.
            until: Values of metrics at which a trial ends; none: at the end of its budget.
        """
        self._searcher = searcher
        self._until = until or {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tune's hook for one trial, which may have failed and have no metrics."""
        return any(result.get(name, 0) >= value for name, value in self._until.items())

    def stop_all(self) -> bool:
        """Tune's hook for the whole session."""
        return self._searcher.ended_by is not None


def _teacher_columns(teacher: Teacher | None) -> dict[str, Any]:
    if teacher is None:
        return {}
    return {
        "teacher_sha256": teacher.metadata.sha256,
        "teacher_validation_accuracy": teacher.metadata.validation_accuracy,
        "teacher_test_accuracy": teacher.metadata.test_accuracy,
    }
