"""What trials cost: the share of a GPU that each has held and what that was worth, summed over all processes that ran it.

A trial's process says with each report how long it has had its share of which node. The driver adds what a process had
when it was lost, and multiplies by the node's price. What was spent between a trial's last report and the death of the
driver itself is known to nobody, and not counted; nor are machines that start, idle or train a teacher.
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
    """Counts what one or more trials have cost, or will."""

    gpu_seconds: float = 0.0
    usd: float | None = 0.0
    """None: a machine had no price."""

    @property
    def gpu_hours(self) -> float:
        """The same in hours."""
        return self.gpu_seconds / 3600

    def __add__(self, other: CostAmount) -> CostAmount:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return CostAmount(gpu_seconds=self.gpu_seconds + other.gpu_seconds, usd=usd)

    def times(self, factor: float) -> CostAmount:
        """So many times as much."""
        return CostAmount(gpu_seconds=factor * self.gpu_seconds, usd=None if self.usd is None else factor * self.usd)

    @classmethod
    def of_trial(cls, trial: TrialRecord) -> CostAmount:
        """Return what an ended trial has cost; nothing where its row is of a version that did not count."""
        return cls(gpu_seconds=trial.gpu_seconds or 0.0, usd=trial.cost_usd)

    @classmethod
    def of_report(cls, report: Mapping[str, Any]) -> CostAmount:
        """Return what a trial had cost by a report, likewise."""
        return cls(gpu_seconds=report["gpu_seconds"] or 0.0, usd=report["cost_usd"])


NOTHING = CostAmount()


@dataclass(kw_only=True)
class _Session:
    """One process that runs a trial."""

    started: float
    """By the driver's clock, as all its times."""

    heard: float | None = None
    allocation: Allocation | None = None
    """What it said last."""


@dataclass(kw_only=True)
class _Trial:
    """What is known of one trial."""

    before: CostAmount = NOTHING
    """By processes that are gone."""

    unplaced: float = 0.0
    """Seconds of processes that were lost before they said where they ran; charged to the trial's next process."""

    share: float = 0.0
    """Of its budget, used at its last report."""

    session: _Session | None = None


@dataclass(kw_only=True)
class CostLedger:
    """Keeps what the trials of one sweep have cost, in earlier sessions too."""

    prices: PriceList = field(default_factory=lambda: PriceList(prices={}))
    machine: Callable[[str], Machine | None] = lambda node_id: None
    """What a node is; none if it is not known."""

    clock: Clock = SYSTEM_CLOCK
    unpriced: set[str] = field(default_factory=set)
    """Machines that have run trials and have no price."""

    _trials: dict[str, _Trial] = field(default_factory=dict)
    """Those that have not ended."""

    _of_ended: CostAmount = NOTHING
    """What the others have cost together: there may be thousands, and the sum is asked for at each report."""

    _ended: int = 0

    def recall(self, rows: list[TrialRecord], reports: list[Row]) -> None:
        """Take in what earlier sessions have spent.

        Args:
            rows: The trials that have ended.
            reports: All reports; of trials that have not ended the dearest counts.
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
        """A process has begun to run a trial."""
        self._trial(key).session = _Session(started=self.clock.monotonic())

    def reported(self, key: str, allocation: Allocation, *, share: float) -> dict[str, Any]:
        """It has reported; the columns of the report, by name.

        Args:
            key: The trial.
            allocation: The share of a node that its process has, by now.
            share: Of the trial's budget, used by now.
        """
        trial = self._trial(key)
        session = trial.session = trial.session or _Session(started=self.clock.monotonic())
        session.heard, session.allocation, trial.share = self.clock.monotonic(), allocation, share
        return self.columns(key)

    def lost(self, key: str) -> None:
        """Its process is gone, and another will go on."""
        trial = self._trial(key)
        trial.before, session = self._so_far(trial, now=True), trial.session
        if session is not None:
            trial.unplaced = 0.0 if session.allocation else trial.unplaced + self.clock.monotonic() - session.started
        trial.session = None

    def ended(self, key: str) -> dict[str, Any]:
        """The trial has ended; the columns of its row, by name."""
        columns = self.columns(key)
        self._count_ended(self._so_far(self._trials.pop(key)))
        return columns

    def columns(self, key: str) -> dict[str, Any]:
        """What a trial has cost by its last report, for its row."""
        trial = self._trial(key)
        allocation = trial.session.allocation if trial.session else None
        machine = self.machine(allocation.node_id) if allocation else None
        spent = self._so_far(trial)
        usd = (
            None if allocation is None and spent == NOTHING else spent.usd
        )  # of a process that never said where it ran
        return dict(zip(COST_COLUMNS, (machine and machine.name, spent.gpu_seconds, usd), strict=True))

    @property
    def total(self) -> CostAmount:
        """What all trials have cost by now."""
        return sum((self._so_far(trial, now=True) for trial in self._trials.values()), self._of_ended)

    def projected(self, running: Collection[str]) -> CostAmount:
        """Return what the running trials are going to cost until they end, should none be stopped early."""
        each, left = self.mean_per_trial or NOTHING, NOTHING
        for trial in map(self._trial, running):
            left += self._so_far(trial).times(1 / trial.share - 1) if trial.share else each
        return left

    @property
    def mean_per_trial(self) -> CostAmount | None:
        """Return the mean cost of ended trials; before the first ends, the mean projected cost of those that run.

        None if neither is known.
        """
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
        """What a trial has cost by its last report, or by now."""
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
