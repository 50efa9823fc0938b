"""Tracks, rows and what makes a row count; a recipe run for a track and verified."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands.speedrun import recipe_of, row_sweep
from orchestrator.errors import ConfigError
from orchestrator.speedrun.rows import Row, judge, read_row, records
from orchestrator.speedrun.tables import Verification, shown_operations
from orchestrator.speedrun.tracks import find_track, recipe_fields, tracks
from search_spaces.presets import preset_names
from trainables.config import SupervisedConfig, ZeroShotConfig

TINY: dict[str, Any] = {
    "name": "tiny",
    "description": "A recipe that learns nothing in a second.",
    "trial": {
        "method": "data_free",
        "dataset": "digits",
        "teacher": "lenet",
        "student": "lenet",
        "generator_width": 4,
        "batch_size": 16,
        "student_steps": 2,
        "total_pseudo_batches": 4,
    },
    "cases": {"tiny": {}},
}


def zskt(*arguments: str) -> tuple[int, str]:
    """A command's exit code, and what it prints."""
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return done.exit_code, done.output


def make_row(*accuracies: float, track: str = "digits", operations: float = 1e11) -> Row:
    runs = [
        {"seed": s, "test_accuracy": a, "operations": operations, "device": "an abacus", "version": "0"}
        for s, a in enumerate(accuracies)
    ]
    return Row.model_validate({"track": track, "name": "a", "by": "b", "recipe": {"method": "data_free"}, "runs": runs})


def test_a_row_counts_if_the_mean_of_five_seeds_is_surely_above_the_target() -> None:
    track = find_track("digits")
    above = [0.965, 0.967, 0.964, 0.966, 0.968]
    judged = judge(above, track)
    assert judged.counts
    expected = stats.ttest_1samp(above, track.target, alternative="greater")
    assert judged.p_value == pytest.approx(expected.pvalue)
    interval = stats.ttest_1samp(above, 0).confidence_interval(0.95)
    assert (judged.low, judged.high) == pytest.approx((interval.low, interval.high))
    few = judge(above[:4], track)
    assert not few.counts
    assert few.why_not == "1 more seed needed"
    unsure = judge([0.99, 0.95, 0.99, 0.95, 0.96], track)
    assert not unsure.counts
    assert "not surely above 96.00%" in unsure.why_not
    assert judge([0.96] * 5, track).p_value == 1  # on the target, which is not above it
    assert judge([0.97] * 5, track).counts


def test_rows_that_count_come_first_and_then_those_that_take_less(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = [0.965, 0.967, 0.964, 0.966, 0.968]
    for name, row in {
        "dear": make_row(*good, operations=9e11),
        "cheap": make_row(*good, operations=8e11),
        "bad": make_row(0.9, 0.9, operations=1e9),
    }.items():
        (tmp_path / "digits").mkdir(exist_ok=True)
        (tmp_path / "digits" / f"{name}.yaml").write_text(row.to_yaml())
    monkeypatch.setattr("orchestrator.speedrun.rows._RECORDS", tmp_path)
    assert [row.operations for row in records(find_track("digits"))] == [8e11, 9e11, 1e9]


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    row = make_row(0.9, 0.8)
    (tmp_path / "row.yaml").write_text(row.to_yaml())
    assert read_row(tmp_path / "row.yaml") == row
    twice = row.model_dump(mode="json")
    twice["runs"][1]["seed"] = twice["runs"][0]["seed"]
    for wrong, says in ((twice, "more than once"), ({**twice, "runs": []}, "runs")):
        (tmp_path / "row.yaml").write_text(yaml.safe_dump(wrong))
        with pytest.raises(ConfigError, match=says):
            read_row(tmp_path / "row.yaml")
    (tmp_path / "row.yaml").write_text("runs: 3")
    with pytest.raises(ConfigError, match=r"row\.yaml"):
        read_row(tmp_path / "row.yaml")


def test_verified_is_what_counts_again_for_no_more_operations() -> None:
    good = [0.965, 0.967, 0.964, 0.966, 0.968]
    then = make_row(*good)
    assert Verification(row=then, again=then).verified
    assert "every accuracy is reproduced" in Verification(row=then, again=then).conclusion()
    dearer = Verification(row=then, again=make_row(*good, operations=2e11))
    assert not dearer.verified
    assert "it takes 200 GFLOP, the row says 100 GFLOP" in dearer.conclusion()
    worse = Verification(row=then, again=make_row(*[0.95] * 5))
    assert not worse.verified
    assert "not surely above" in worse.conclusion()


@pytest.mark.parametrize(
    ("operations", "expected"), [(33.2e15, "33.2 PFLOP"), (2e12, "2 TFLOP"), (7.1e10, "71 GFLOP"), (1e6, "0.001 GFLOP")]
)
def test_operations_have_a_unit_that_suits_them(operations: float, expected: str) -> None:
    assert shown_operations(operations) == expected


def test_a_recipe_is_method_settings_and_length_and_neither_images_nor_seeds() -> None:
    config = ZeroShotConfig(dataset="digits", teacher="lenet", student="lenet", seed=3, student_steps=2, student_lr=0.1)
    recipe = recipe_fields(config)
    assert {"method": "zero_shot", "student_steps": 2, "student_lr": 0.1}.items() <= recipe.items()
    assert recipe["attention_weight"] == 250  # what is left open is written out, for defaults may change one day
    given = {
        "seed",
        "dataset",
        "teacher",
        "student",
        "image_size",
        "evaluation_interval",
        "validation_fraction",
        "metrics",
    }
    assert recipe.keys().isdisjoint(given)
    layers = config.model_copy(update={"student_attention_layers": "conv1"})
    assert recipe_fields(layers)["student_attention_layers"] == "conv1"


def test_other_teachers_and_real_images_are_refused(tmp_path: Path) -> None:
    track = find_track("digits")
    assert Path(track.teacher_path(None)).is_file()
    other = tmp_path / "teacher.safetensors"
    other.write_bytes(b"another")
    with pytest.raises(ConfigError, match="SHA-256"):
        track.teacher_path(str(other))
    with pytest.raises(ConfigError, match="--teacher FILE"):
        find_track("cifar10-82").teacher_path(None)
    with pytest.raises(ConfigError, match="unknown track"):
        find_track("digit")
    supervised = recipe_fields(SupervisedConfig(dataset="digits", student="lenet", full_data_epochs=1))
    with pytest.raises(ConfigError, match="learns from real images"):
        row_sweep(track, supervised, [0], teacher=track.teacher_path(None), changes={})


@pytest.mark.parametrize(
    "field", [{"dataset_file": "easy.parquet"}, {"image_size": "28"}, {"seed": 4}, {"student": "wrn-10-1"}]
)
def test_a_row_cannot_bring_images_seeds_or_students_of_its_own(field: dict[str, Any]) -> None:
    track = find_track("digits")
    with pytest.raises(ConfigError, match="a recipe cannot set"):
        row_sweep(track, {"method": "data_free", **field}, [0], teacher=track.teacher_path(None), changes={})


def test_a_row_of_which_a_seed_diverged_does_not_count() -> None:
    good = make_row(0.965, 0.967, 0.964, 0.966, 0.968)
    assert good.judgement.counts
    lost = good.model_copy(update={"unsuccessful": "1 diverged"})
    assert not lost.judgement.counts
    assert lost.judgement.why_not == "1 diverged"


def test_test_images_are_looked_at_once() -> None:
    track = find_track("digits")
    sweep = row_sweep(track, {"method": "data_free"}, [0], teacher=track.teacher_path(None), changes={})
    assert sweep.configs()[0].reports == 1


def test_a_recipe_of_several_trials_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "several.yaml"
    file.write_text(yaml.safe_dump({**TINY, "cases": {"a": {}, "b": {"student_steps": 3}}}))
    with pytest.raises(ConfigError, match="expected one trial or case"):
        recipe_of(str(file))


def test_each_record_names_its_track_and_counts() -> None:
    for track in tracks().values():
        for row in records(track):
            assert row.track == track.name
            assert row.judgement.counts, row.judgement.why_not


@pytest.mark.parametrize("name", ["dafl", "dfad", "dfq", "deep-inversion", "cmi", "fast-2", "fast-10"])
def test_a_published_method_is_a_recipe(name: str) -> None:
    assert name in preset_names()
    assert recipe_of(name)["method"] == "data_free"


def test_the_tables_are_shown() -> None:
    code, output = zskt("speedrun")
    assert code == 0
    assert "cifar10-82: above 82.44% test accuracy" in output
    assert "33.2 PFLOP" in output


def test_a_row_is_run_and_run_again(tmp_path: Path) -> None:
    recipe, row, storage = tmp_path / "tiny.yaml", tmp_path / "row.yaml", tmp_path / "runs"
    recipe.write_text(yaml.safe_dump(TINY))
    common = ("--backend", "inline", "--storage", str(storage))
    code, output = zskt(
        "speedrun", "digits", "--recipe", str(recipe), "--seeds", "2", "--name", "tiny", "--output", str(row), *common
    )
    assert code == 1, output  # it does not count
    assert "3 more seeds needed" in output
    made = read_row(row)
    assert [run.seed for run in made.runs] == [0, 1]
    assert made.recipe["total_pseudo_batches"] == 4
    code, output = zskt("speedrun", "verify", str(row), *common)
    assert code == 1
    assert output.count("completed\n") == 2  # what was run for the row does not stand for a verification
    assert "Not verified" in output
    again = zskt("speedrun", "verify", str(row), "--first-seed", "7", *common)
    assert re.search(r"Not verified: [\d.]+% over 2 seeds", again[1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("verify",), "verify ROW"),
        (("digits", "row.yaml"), "or a track without one"),
        (("nowhere",), "unknown track"),
        (("cifar10-88", "--teacher", "none.pt", "--recipe", "fast-2"), "cannot be read"),
        (("cifar10-88",), "no record yet"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments: tuple[str, ...], says: str) -> None:
    code, output = zskt("speedrun", *arguments)
    assert code in {1, 2}
    assert says in output
    assert "Traceback" not in output


@pytest.mark.slow
@pytest.mark.timeout(900)  # two minutes on an idle core
def test_the_record_on_digits_is_verified(tmp_path: Path) -> None:
    code, output = zskt("speedrun", "digits", "--backend", "inline", "--storage", str(tmp_path / "runs"))
    assert code == 0, output
    assert re.search(r"^Verified: 9[67]\.\d\d% over 5 seeds", output, re.MULTILINE)
