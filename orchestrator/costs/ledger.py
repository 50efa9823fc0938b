"""Ledger of costs: the GPU time and the USD of each trial, summed over all processes that ran it.

With each report, a trial's process says how long it has held its share of which node. The driver adds the time up to the
loss of a process, and multiplies by the node's price. Costs between a trial's last report and the death of the driver
itself are not known, and not counted. Nor are machines that start, are idle or train a teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.prices import Machine, PriceList
from orchestrator.results import Row, TrialRecord
from orchestrator.results.schema import COST_COLUMNS
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.trial_result import Allocation


@dataclass(frozen=True, kw_only=True)
class CostAmount:
    """The past or future cost of one or more trials."""

    gpu_seconds: float = 0.0
    usd: float | None = 0.0
    """Cost in USD; None if a machine had no price."""

    @property
    def gpu_hours(self) -> float:
        """GPU time in hours."""
        return self.gpu_seconds / 3600

    def __add__(self, other: CostAmount) -> CostAmount:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return CostAmount(gpu_seconds=self.gpu_seconds + other.gpu_seconds, usd=usd)

    def times(self, factor: float) -> CostAmount:
        """Return the cost multiplied by a factor."""
        return CostAmount(gpu_seconds=factor * self.gpu_seconds, usd=None if self.usd is None else factor * self.usd)

    @classmethod
    def of_trial(cls, trial: TrialRecord) -> CostAmount:
        """Return the cost of an ended trial; GPU time is 0 if its row is of a version that did not record it."""
        return cls(gpu_seconds=trial.gpu_seconds or 0.0, usd=trial.cost_usd)

    @classmethod
    def of_report(cls, report: Mapping[str, Any]) -> CostAmount:
        """Return the cost of a trial up to a report; GPU time is 0 if the report is of a version that did not record it."""
        return cls(gpu_seconds=report["gpu_seconds"] or 0.0, usd=report["cost_usd"])


NOTHING = CostAmount()


@dataclass(kw_only=True)
class _Session:
    """One process that runs a trial."""

    started: float
    """When the process started, by the driver's clock."""

    heard: float | None = None
    """When the process last reported, by the driver's clock; None before its first report."""

    allocation: Allocation | None = None
    """Share of a node that the process held, by its last report."""


@dataclass(kw_only=True)
class _Trial:
    """The cost of one trial that has not ended."""

    before: CostAmount = NOTHING
    """Cost of the trial's earlier processes."""

    unplaced: float = 0.0
    """Run time in seconds of processes that died before they reported their node; charged to the trial's next process."""

    share: float = 0.0
    """Share of its budget that the trial had used at its last report."""

    session: _Session | None = None


@dataclass(kw_only=True)
class CostLedger:
    """The costs of all trials of one sweep, including those of earlier sessions."""

    prices: PriceList = field(default_factory=lambda: PriceList(prices={}))
    machine: Callable[[str], Machine | None] = lambda node_id: None
    """Returns the machine that a node is, by the node's id; None if it is not known."""

    clock: Clock = SYSTEM_CLOCK
    unpriced: set[str] = field(default_factory=set)
    """Machines that have run trials and have no price."""

    _trials: dict[str, _Trial] = field(default_factory=dict)
    """Trials that have not ended, by id."""

    _of_ended: CostAmount = NOTHING
    """Total cost of ended trials, kept as a sum since there may be thousands and each report needs it."""

    _ended: int = 0

    def recall(self, rows: list[TrialRecord], reports: list[Row]) -> None:
        """Add the costs of earlier sessions.

        Args:
            rows: Result rows of the ended trials.
            reports: All reports; for a trial that has not ended, the report with the highest cost counts.
        """
        for report in reports:
            trial = self._trial(report["trial_id"])
            spent = CostAmount.of_report(report)
            if (spent.gpu_seconds, spent.usd or 0) >= (trial.before.gpu_seconds, trial.before.usd or 0):
                trial.before = spent
        for row in rows:
            self._trials.pop(row.trial_id, None)
            self._count_ended(CostAmount.of_trial(row))

    def started(self, key: str) -> None:
        """Note that a process has started to run a trial."""
        self._trial(key).session = _Session(started=self.clock.monotonic())

    def reported(self, key: str, allocation: Allocation, *, share: float) -> dict[str, Any]:
        """Note a trial's report, and return the cost columns of the report by name.

        Args:
            key: Id of the trial.
            allocation: Share of a node that the trial's process holds, and for how long so far.
            share: Share of its budget that the trial has used.
        """
        trial = self._trial(key)
        session = trial.session = trial.session or _Session(started=self.clock.monotonic())
        session.heard, session.allocation, trial.share = self.clock.monotonic(), allocation, share
        return self.columns(key)

    def lost(self, key: str) -> None:
        """Note that the process of a trial is lost, and that another will resume the trial."""
        trial = self._trial(key)
        trial.before, session = self._so_far(trial, now=True), trial.session
        if session is not None:
            trial.unplaced = 0.0 if session.allocation else trial.unplaced + self.clock.monotonic() - session.started
        trial.session = None

    def ended(self, key: str) -> dict[str, Any]:
        """Note that a trial has ended, and return the cost columns of its result row by name."""
        columns = self.columns(key)
        self._count_ended(self._so_far(self._trials.pop(key)))
        return columns

    def columns(self, key: str) -> dict[str, Any]:
        """Return the cost columns of a trial by name, up to its last report."""
        trial = self._trial(key)
        allocation = trial.session.allocation if trial.session else None
        machine = self.machine(allocation.node_id) if allocation else None
        spent = self._so_far(trial)
        usd = (
            None if allocation is None and spent == NOTHING else spent.usd
        )  # None if no process has reported where it ran
        return dict(zip(COST_COLUMNS, (machine and machine.name, spent.gpu_seconds, usd), strict=True))

    @property
    def total(self) -> CostAmount:
        """Cost of all trials so far."""
        return sum((self._so_far(trial, now=True) for trial in self._trials.values()), self._of_ended)

    def projected(self, running: Collection[str]) -> CostAmount:
        """Return what the running trials will still cost until they end, if none is stopped early."""
        each, left = self.mean_per_trial or NOTHING, NOTHING
        for trial in map(self._trial, running):
            left += self._so_far(trial).times(1 / trial.share - 1) if trial.share else each
        return left

    @property
    def mean_per_trial(self) -> CostAmount | None:
        """Mean cost of ended trials, or before the first ends of running trials (projected). None if neither is known."""
        if self._ended:
            return self._of_ended.times(1 / self._ended)
        known = [self._so_far(trial).times(1 / trial.share) for trial in self._trials.values() if trial.share]
        return sum(known, NOTHING).times(1 / len(known)) if known else None

    def _count_ended(self, spent: CostAmount) -> None:
        self._of_ended += spent
        self._ended += 1

    def _trial(self, key: str) -> _Trial:
        return self._trials.setdefault(key, _Trial())

    def _so_far(self, trial: _Trial, *, now: bool = False) -> CostAmount:
        """Return the cost of a trial up to its last report, or with ``now`` up to the present."""
        session = trial.session
        if session is None or session.allocation is None or session.heard is None:
            return trial.before
        since = self.clock.monotonic() - session.heard if now else 0.0
        return trial.before + self._worth(session.allocation, session.allocation.seconds + since + trial.unplaced)

    def _worth(self, allocation: Allocation, seconds: float) -> CostAmount:
        machine = self.machine(allocation.node_id)
        hour = self.prices.hour(machine) if machine else None
        if machine is None or hour is None:
            self.unpriced.add(str(machine or allocation.node_id))
            return CostAmount(gpu_seconds=seconds * allocation.gpus, usd=None)
        share = machine.share(cpus=allocation.cpus, gpus=allocation.gpus)
        return CostAmount(gpu_seconds=seconds * allocation.gpus, usd=seconds / 3600 * share * hour)
