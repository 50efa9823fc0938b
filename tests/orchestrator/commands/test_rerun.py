from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.analysis.leaderboard import Leaderboard
from orchestrator.commands.rerun import Rerun, rerun_sweep
from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.results import TrialRecord
from tests.support.confirmations import BOARD, SEARCH, record_of
from tests.support.records import record
from trainables.config import ZeroShotConfig


def board(**changes: Any) -> Leaderboard:
    sweep = SEARCH.model_copy(update={"scale": 1.0, **changes})
    return Leaderboard(sweep_id="search-1a2b3c4d", sweep=sweep, searched=BOARD.searched, rows=BOARD.rows)


def _without(row: TrialRecord, *fields: str) -> TrialRecord:
    return replace(row, settings={**row.settings, **dict.fromkeys(fields)})


def test_the_trial_runs_again_with_every_setting_that_it_had() -> None:
    sweep_id, sweep, then = rerun_sweep(board(), "t0003")
    assert sweep_id == "search-1a2b3c4d-t0003"
    assert then.trial_id == "t0003"
    (config,) = sweep.configs()
    assert config == then.config
    assert (sweep.storage.uri, sweep.teacher_recipe) == ("./elsewhere", {"full_data_epochs": 20})


def test_fields_that_came_after_the_trial_have_their_defaults() -> None:
    rows = [_without(row, "data_free_scores", "audited") for row in BOARD.rows]
    earlier = replace(board(), rows=rows)
    (config,) = rerun_sweep(earlier, "t0003")[1].configs()
    assert isinstance(config, ZeroShotConfig)
    assert (config.data_free_scores, config.audited, config.initial_trial) == (False, True, None)
    rows = [_without(row, "numerics") for row in BOARD.rows]
    with pytest.raises(ConfigError, match="t0003 ran in an earlier version, which computed as numerics=exact does"):
        rerun_sweep(replace(board(), rows=rows), "t0003")


def test_a_trial_of_a_case_runs_again_too() -> None:
    cases = SweepConfig.model_validate(
        {"name": "a", "trial": {"dataset": "digits"}, "cases": {"kd": {"method": "supervised", "images_per_class": 3}}}
    )
    rows = [record_of(cases.configs()[0], "t0000")]
    _, sweep, _ = rerun_sweep(Leaderboard(sweep_id="a", sweep=cases, searched=[], rows=rows), "t0000")
    assert sweep.configs() == cases.configs()


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no ended trial t0099; ended trials: t0000, t0003"):
        rerun_sweep(board(), "t0099")
    with pytest.raises(ConfigError, match=r"ran at scale 0\.5"):
        rerun_sweep(BOARD, "t0003")


def test_equal_numbers_and_others() -> None:
    then = record("t0003", validation_accuracy=0.5)
    slower = Rerun(
        sweep_id="a", then=then, now=record("t0003", validation_accuracy=0.5, training_seconds=1e6, hostname="there")
    )
    assert not slower.different
    assert "bit for bit" in slower.conclusion()
    now = record("t0003", validation_accuracy=0.5, data_free_score=0.5)
    measured_now = Rerun(sweep_id="a", then=record("t0003", validation_accuracy=0.5, data_free_score=None), now=now)
    assert not measured_now.different
    other = Rerun(sweep_id="a", then=then, now=record("t0003", validation_accuracy=0.6, threads=2))
    assert other.different == {"validation_accuracy": (0.5, 0.6)}
    assert "validation_accuracy: 0.5 then, 0.6 now" in other.conclusion()
    assert "threads 1 then, 2 now" in other.conclusion()


def test_of_a_stopped_trial_the_part_that_ran_is_compared() -> None:
    then = record("t0003", pseudo_batches=70, state="stopped_early")
    same = Rerun(sweep_id="a", then=then, now=replace(then, trial_id="t0000"))
    assert same.different == {}
    assert same.conclusion().endswith("bit for bit, up to where it was stopped (70 pseudo batches).")


def test_whether_a_trial_fails_again_is_said() -> None:
    fine = record("t0003")
    failed = record("t0003", state="failed", error="OSError: no route", validation_accuracy=None)
    again = Rerun(
        sweep_id="a", then=failed, now=replace(failed, metrics={**failed.metrics, "validation_accuracy": 0.5})
    )
    assert (again.different, again.conclusion()) == ({}, "It failed again: OSError: no route")
    otherwise = Rerun(sweep_id="a", then=failed, now=replace(failed, error="ValueError: no"))
    assert otherwise.conclusion() == "It failed again: ValueError: no\nThen: OSError: no route"
    mended = Rerun(sweep_id="a", then=failed, now=fine)
    assert mended.different == {"state": ("failed", "completed")}
    assert mended.conclusion() == "It did not fail again: completed now, but then: OSError: no route"
    broken = Rerun(sweep_id="a", then=fine, now=failed)
    assert broken.different == {"state": ("completed", "failed")}
    assert broken.conclusion() == "It failed this time: OSError: no route"
