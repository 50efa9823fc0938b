from __future__ import annotations

from typing import Any

import pytest

from orchestrator.config.blocks import HungConfig
from orchestrator.run.callbacks.base import TrialFailure
from orchestrator.run.callbacks.watchdog import Answer, StallWatchdog
from orchestrator.search.trial_queue import SweepTrial
from tests.support.simulated import SimulatedClock

FIRST = SweepTrial(key="t0000", settings={})
DIED = TrialFailure(cause="it died")


class Watched:
    """A watch on one trial, with a clock of its own, and whom it has had judged."""

    def __init__(self, **config: Any) -> None:
        self.clock = SimulatedClock()
        self.asked: list[tuple[Any, ...]] = []
        self.silent: float | None = None
        self.watch = StallWatchdog(HungConfig.model_validate(config), ask=self.ask, clock=self.clock)
        self.watch.on_trial_start(FIRST)

    def ask(self, *judged: Any) -> Answer:
        self.asked.append(judged)
        return lambda: self.silent

    def report(self, at: float) -> None:
        self.clock.seconds = at
        self.watch.on_trial_report(FIRST, {"allocation": {"node_id": "a"}, "pid": 7})

    def look(self, at: float) -> list[tuple[Any, ...]]:
        """Whom it has judged since the last look."""
        self.clock.seconds = at
        self.watch.on_step(running=1, waiting=0)
        asked, self.asked[:] = list(self.asked), []
        return asked


def test_a_trial_is_suspected_after_several_of_its_intervals_and_again_later() -> None:
    watched = Watched(intervals=3, at_least_seconds=1)
    for at in (100, 110, 120, 130):  # the first one with set-up and compilation
        watched.report(at)
    assert watched.look(159) == []
    assert watched.look(161) == [("a", 7, "t0000", 30.0)]
    assert watched.look(162) == [], "it lived, so it gets as long again"
    assert watched.look(192) == [("a", 7, "t0000", 30.0)]
    watched.report(193)
    assert watched.look(223) == []


def test_short_intervals_have_a_floor_and_none_switches_it_off() -> None:
    watched, idle = Watched(), Watched(intervals=None, at_least_seconds=1)
    for each in (watched, idle):
        each.report(1)
        each.report(2)
    assert watched.look(301) == []
    assert watched.look(303) == [("a", 7, "t0000", 300.0)]
    assert idle.look(1e6) == []


def test_nobody_is_suspected_before_the_first_report_of_a_process_or_after_its_end() -> None:
    watched = Watched(at_least_seconds=1)
    assert watched.look(1e6) == []
    watched.report(1e6 + 1)
    watched.watch.on_trial_recover(FIRST, DIED)
    assert watched.look(1e9) == []
    watched.watch.on_trial_start(FIRST)
    assert watched.look(2e9) == [], "another process, that may compile again"
    watched.report(2e9 + 1)
    watched.watch.on_trial_end(FIRST)
    assert watched.look(3e9) == []


def test_a_death_that_was_not_its_doing_is_not_explained() -> None:
    watched = Watched(at_least_seconds=1)
    assert watched.watch.explain("t0000") is None
    assert watched.watch.explain("t0001") is None
    watched.report(1)
    assert watched.look(1e6)
    assert watched.watch.explain("t0000") is None, "the node found it alive"
    watched.silent = 700
    assert watched.watch.explain("t0000") == "it hung: no heartbeat for 12 min, so its process was killed"


@pytest.mark.parametrize("value", [0, 0.5])
def test_less_than_one_interval_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        HungConfig(intervals=value)
