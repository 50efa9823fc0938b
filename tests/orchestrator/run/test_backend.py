"""What all backends ask of the work that they are given, and how Tune is told of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from orchestrator.config import SweepConfig
from orchestrator.results import TrialState
from orchestrator.run.backend import TrialWork
from orchestrator.run.tune import TuneScheduler, TuneSearcher
from orchestrator.schedulers.base import Decision
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.search.trial_queue import SweepTrial
from search_spaces import resolve_space
from tests.support.searches import new_study
from tests.support.tiny import make_inputs, tiny_settings

SPACE = {"temperature": {"type": "float", "low": 1, "high": 4}}
SWEEP = SweepConfig(name="test", trial=tiny_settings(), space=SPACE, num_trials=2)
TRIAL = SweepTrial(key="t0003", settings=tiny_settings())


class Rule:
    """Stops what reports less than a half, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, float | None]] = []

    def on_report(self, trial_id: str, used: int, value: float | None) -> Decision:
        self.asked.append((trial_id, used, value))
        return Decision.STOP if value is not None and value < 0.5 else Decision.CONTINUE


def work_with(rule: Rule | None = None, **until: int) -> TrialWork:
    unused: Any = None
    return TrialWork(
        sweep=SWEEP,
        sweep_id="a",
        search=SweepSearch(new_study(), SWEEP, resolve_space(SPACE), sweep_id="a"),
        rule=rule,
        callbacks=[],
        inputs=make_inputs(*SWEEP.configs()),
        storage=unused,
        warn=print,
        until=until,
    )


def test_a_trial_of_which_no_more_is_wanted_ends_there() -> None:
    work = work_with(pseudo_batches=70)
    assert [work.stops(TRIAL, {"pseudo_batches": done}) for done in (60, 70, 80)] == [False, True, True]
    assert not work_with().stops(TRIAL, {"pseudo_batches": 70})


def test_a_rule_is_asked_by_the_sweeps_name_of_the_trial_and_the_objective() -> None:
    rule = Rule()
    work = work_with(rule, pseudo_batches=70)
    results = [
        {"pseudo_batches": done, "validation_accuracy": value} for done, value in ((2, 0.6), (4, 0.4), (70, 0.9))
    ]
    assert [work.stops(TRIAL, result) for result in results] == [False, True, True]
    assert rule.asked == [("t0003", 2, 0.6), ("t0003", 4, 0.4)], "nothing is compared where a trial ends anyhow"


@pytest.mark.parametrize(("value", "decision"), [(0.4, TrialScheduler.STOP), (0.6, TrialScheduler.CONTINUE)])
def test_tune_is_told_what_becomes_of_a_trial(value: float, decision: str) -> None:
    trial: Any = SimpleNamespace(config=TRIAL.flat)
    scheduler = TuneScheduler(work_with(Rule()))
    assert scheduler.on_trial_result(None, trial, {"pseudo_batches": 2, "validation_accuracy": value}) == decision


def test_tune_is_told_that_a_search_has_finished_once_nothing_runs() -> None:
    search = SweepSearch(new_study(), SWEEP, resolve_space(SPACE), sweep_id="a")
    searcher = TuneSearcher(search)
    for key in ("t0000", "t0001"):
        config = searcher.suggest("tune's id")
        assert isinstance(config, dict)
        assert config["trial_id"] == key
        assert SweepTrial.from_flat(config).flat == config
    assert searcher.suggest("x") is None
    search.tell("t0000", TrialState.COMPLETED, {"validation_accuracy": 0.5})
    assert searcher.suggest("x") is None, "the other may have to be run again"
    search.tell("t0001", TrialState.COMPLETED, {"validation_accuracy": 0.5})
    assert searcher.suggest("x") == "FINISHED"
