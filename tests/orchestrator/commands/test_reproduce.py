"""From rows to verdicts, and the whole way by the command on the quick-start networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config import Assignment, SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.reproduction import Judgement, Verdict
from orchestrator.reproduction.baseline import compare_with_baseline
from orchestrator.reproduction.sweep_verdicts import check_target, judge_sweep
from orchestrator.reproduction.verdict import BAND_RULE
from orchestrator.storage import SweepStore
from tests.support.case_sweeps import write
from trainables.storage.object_store import ObjectStore

PAIR = "wrn-16-2-to-wrn-16-1"


def with_results(store: ObjectStore, sweep: SweepConfig, accuracies: dict[str, list[float]], **changes: Any) -> None:
    number = 0
    for case, values in accuracies.items():
        for seed, accuracy in enumerate(values):
            config = sweep.case_config(Assignment(case=case, seed=seed))
            write(store, "here", number, config, test_accuracy=accuracy, **{"teacher_test_accuracy": 0.9397, **changes})
            number += 1


def verdicts(store: ObjectStore, sweep: SweepConfig) -> dict[str, Judgement]:
    return {judgement.case: judgement for judgement in judge_sweep(SweepStore(store, "here"), sweep)}


def test_whole_runs_are_judged_by_the_band(store: ObjectStore) -> None:
    sweep = load_sweep("paper-table-1")
    with_results(store, sweep, {PAIR: [0.829, 0.827, 0.831], "wrn-40-1-to-wrn-16-1": [0.70, 0.71, 0.70]})
    found = verdicts(store, sweep)
    assert found[PAIR].verdict is Verdict.REPRODUCED
    assert found["wrn-40-1-to-wrn-16-1"].verdict is Verdict.WORSE
    assert found["wrn-40-2-to-wrn-16-1"].verdict is Verdict.NOT_ENOUGH_RUNS
    assert len(found) == 6


def test_shortened_runs_are_judged_by_the_curve_at_their_length(store: ObjectStore) -> None:
    for scale, accuracies, verdict in (
        (0.01, [0.37, 0.44, 0.41], Verdict.ON_CURVE),
        (0.01, [0.12, 0.10, 0.11], Verdict.OFF_CURVE),
        (0.1, [0.37, 0.44, 0.41], Verdict.OFF_CURVE),
    ):
        sweep = load_sweep("paper-table-1", flags={"scale": scale})
        with_results(store, sweep, {PAIR: accuracies, "wrn-40-1-to-wrn-16-1": [0.4, 0.4, 0.4]})
        found = verdicts(store, sweep)
        assert found[PAIR].verdict is verdict
        assert found["wrn-40-1-to-wrn-16-1"].verdict is Verdict.NO_PUBLISHED_CURVE


def test_another_teacher_is_said(store: ObjectStore) -> None:
    sweep = load_sweep("paper-table-1")
    with_results(store, sweep, {PAIR: [0.829, 0.827, 0.831]}, teacher_test_accuracy=0.851)
    assert "not comparable: its teacher has 85.10%" in verdicts(store, sweep)[PAIR].note


def test_the_average_drop_is_taken_over_pairs_within_seeds(store: ObjectStore) -> None:
    sweep = load_sweep("paper-attention-ablation")
    pairs = [case for case in sweep.cases if not case.endswith("-without")]
    accuracies = {pair: [0.83, 0.84, 0.85, 0.86][:3] for pair in pairs}
    accuracies |= {pair + "-without": [0.81, 0.82] for pair in pairs}
    with_results(store, sweep, accuracies)
    drop = verdicts(store, sweep)["average-drop"]
    assert drop.n == 2  # the third seed lacks the trials without attention
    assert drop.mean == pytest.approx(0.02)


def test_a_shortened_ablation_is_not_held_against_the_whole_ones_drop(store: ObjectStore) -> None:
    sweep = load_sweep("paper-attention-ablation", flags={"scale": 0.01})
    accuracies = {case: [0.2 if case.endswith("-without") else 0.41] * 3 for case in sweep.cases}
    with_results(store, sweep, accuracies)
    drop = verdicts(store, sweep)["average-drop"]
    assert (drop.verdict, drop.n) == (Verdict.NO_PUBLISHED_CURVE, 3)
    assert drop.mean == pytest.approx(0.21)


def test_what_came_to_nothing_is_in_the_note(store: ObjectStore) -> None:
    sweep = load_sweep("paper-divergences")
    config = sweep.case_config(Assignment(case="l1", seed=0))
    write(store, "here", 0, config, case="l1", state="diverged", teacher_test_accuracy=0.94)
    assert verdicts(store, sweep)["l1"].note.startswith("1 diverged; ")


def test_transition_errors_are_judged_too(store: ObjectStore) -> None:
    sweep = load_sweep("paper-figure-4")
    for number, value in enumerate((0.21, 0.22, 0.23)):
        config = sweep.case_config(Assignment(case="zero-shot", seed=number))
        write(store, "here", number, config, mean_transition_error=value, teacher_test_accuracy=0.9473)
    found = verdicts(store, sweep)["zero-shot"]
    assert (found.metric, found.n) == ("mean_transition_error", 3)
    assert found.mean == pytest.approx(0.22)
    short = load_sweep("paper-figure-4", flags={"scale": 0.5})
    assert verdicts(store, short)["zero-shot"].metric == "mean_transition_error"


def test_without_published_numbers_cases_are_held_against_the_baseline_by_seed() -> None:
    judgements = {
        judgement.case: judgement
        for judgement in compare_with_baseline(
            {
                "baseline": {0: 0.80, 1: 0.84, 2: 0.82},
                "same": {0: 0.801, 1: 0.839, 2: 0.821},
                "worse": {0: 0.75, 1: 0.79, 2: 0.771},
                "better": {0: 0.85, 1: 0.891, 2: 0.87},
                "few": {0: 0.9, 2: 0.9},
                "none": {},
            }
        )
    }
    assert {case: judgement.verdict for case, judgement in judgements.items()} == {
        "same": Verdict.NO_EFFECT,
        "worse": Verdict.WORSE,
        "better": Verdict.BETTER,
        "few": Verdict.NOT_ENOUGH_RUNS,
        "none": Verdict.NOT_ENOUGH_RUNS,
    }
    # By hand: differences -0.05, -0.05, -0.049; mean -0.04967, sd 0.000577, t(2) = 4.3027.
    assert judgements["worse"].difference == pytest.approx(-0.0496667, abs=1e-6)
    assert judgements["worse"].difference_low == pytest.approx(-0.0496667 - 4.3027 * 0.00057735 / 3**0.5, abs=1e-6)
    assert judgements["few"].note == "1 more pair of runs needed"


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(ConfigError, match="quickstart is a search"):
        check_target(load_sweep("quickstart"))
    with pytest.raises(ConfigError, match="neither published numbers nor a case named baseline"):
        check_target(SweepConfig(name="mine", cases={"a": {}}))
    for name in ("paper-table-1", "paper-robustness", "digits-table-1"):
        check_target(load_sweep(name))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teacher", "wrn-16-2"], "--teacher wrn-16-2: expected NETWORK=FILE"),
        (["--scale", "2"], "scale=2.0: not allowed"),
        (["--only", "wrn-16-2"], "unknown case 'wrn-16-2'"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["reproduce", "paper-table-1", "--no-run", *arguments])
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")


@pytest.mark.ray
@pytest.mark.own_processes
@pytest.mark.usefixtures("ray_local")
@pytest.mark.timeout(300)
def test_a_user_types_one_command_and_gets_a_verdict(tmp_path: Path) -> None:
    """Its runs are other ones on each processor. That a sound loop is not reproduced comes less than once in 10,000:
    ``test_the_digits_band_is_made_from_the_kept_runs``.
    """
    storage, table = tmp_path / "runs", tmp_path / "table.md"
    arguments = ["reproduce", "digits-table-1", "--storage", str(storage), "--output", str(table)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    lines = table.read_text().splitlines()
    assert re.match(r"```sh", lines[0])
    row, rule = lines[-3], lines[-1]
    assert re.search(r"% \(n=6\) \[\d\d\.\d\d, \d\d\.\d\d\] \|", row)
    assert "reproduced" in row
    assert rule == BAND_RULE
    assert BAND_RULE in result.output
    # Everything is there: the same command runs nothing and says the same.
    again = CliRunner().invoke(app, [*arguments[:-2], "--no-run"])
    assert "started" not in again.output
    assert "reproduced" in again.output
