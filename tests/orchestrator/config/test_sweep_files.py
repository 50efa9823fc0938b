"""A sweep's file may extend another: what is taken over, what wins, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config.loading import load_sweep
from orchestrator.config.sweep_files import read_sweep_file
from orchestrator.errors import ConfigError

BASE: dict[str, Any] = {
    "name": "base",
    "description": "The base.",
    "trial": {"dataset": "digits", "teacher": "lenet", "student": "lenet", "total_pseudo_batches": 6},
    "cases": {"baseline": {}, "warm": {"temperature": 2, "student_lr": 0.001}},
    "seeds": [0, 1],
    "scheduler": {"name": "asha", "grace": 0.5},
}


def written(folder: Path, name: str, /, **fields: Any) -> str:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(fields))
    return str(file)


def test_own_fields_win_and_the_others_are_taken_over(tmp_path: Path) -> None:
    written(tmp_path, "base.yaml", **BASE)
    own = {
        "trial": {"total_pseudo_batches": 9},
        "cases": {"warm": {"temperature": 4}, "cold": {"temperature": 0.5}},
        "scheduler": {"name": "none"},
    }
    _, content = read_sweep_file(written(tmp_path, "own.yaml", extends="base.yaml", name="own", **own))
    assert content == {
        "name": "own",  # and no description, which is the base's of itself
        "trial": {**BASE["trial"], "total_pseudo_batches": 9},
        "cases": {
            "baseline": {},
            "warm": {"temperature": 4, "student_lr": 0.001},
            "cold": {"temperature": 0.5},
        },
        "seeds": [0, 1],
        "scheduler": {"name": "none"},  # the other's fields would mean nothing to it
    }


def test_a_search_takes_the_place_of_cases_and_a_searched_field_that_of_a_fixed_one(tmp_path: Path) -> None:
    space = {"student_lr": {"type": "float", "low": 0.001, "high": 0.01}}
    own = {"trial": {"validation_fraction": 0.1}, "space": space, "num_trials": 4}
    search = load_sweep(written(tmp_path, "own.yaml", extends="dfq", name="own", **own))
    assert (search.cases, search.num_trials) == ({}, 4)
    assert "student_lr" not in search.trial and search.trial["student_steps"] == 10
    fixed = {"name": "fixed", "extends": "own.yaml", "trial": {"student_lr": 0.1}, "num_trials": 1}
    assert load_sweep(written(tmp_path, "fixed.yaml", **fixed)).configs()[0].model_dump()["student_lr"] == 0.1
    cases = load_sweep(written(tmp_path, "cases.yaml", extends="quickstart", name="cases", cases={"baseline": {}}))
    assert list(cases.cases) == ["baseline"] and not cases.space


def test_presets_and_files_of_other_folders_are_extended_in_turn(tmp_path: Path) -> None:
    first = written(tmp_path / "of", "first.yaml", extends="quickstart", name="first", trial={"batch_size": 32})
    second = written(tmp_path, "second.yaml", extends="of/first.yaml", name="second", num_trials=3)
    sweep, quickstart = load_sweep(second), load_sweep("quickstart")
    assert (sweep.name, sweep.num_trials) == ("second", 3)
    assert sweep.configs()[0].model_dump() == {**quickstart.configs()[0].model_dump(), "batch_size": 32}
    assert sweep.space == quickstart.space and load_sweep(first).num_trials == quickstart.num_trials


def test_a_sweep_that_extends_another_is_the_same_as_one_written_out(tmp_path: Path) -> None:
    base = {key: value for key, value in BASE.items() if key != "scheduler"}  # of which cases have no use
    written(tmp_path, "base.yaml", **base)
    short = written(tmp_path, "short.yaml", extends="base.yaml", name="a", trial={"batch_size": 32})
    whole = written(tmp_path, "whole.yaml", **{**base, "name": "a", "trial": {**BASE["trial"], "batch_size": 32}})
    dropped = {"description"}
    assert load_sweep(short).model_dump(exclude=dropped) == load_sweep(whole).model_dump(exclude=dropped)


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ("nothing", "unknown preset 'nothing'"),
        ("nothing.yaml", "nothing.yaml: cannot be read"),
        (["quickstart"], r"extends: expected the name of a preset or of a file, found \['quickstart'\]"),
        ("own.yaml", "own.yaml extends this file itself"),
        ("round.yaml", r"round.yaml: extends: own.yaml extends this file itself"),
    ],
)
def test_what_cannot_be_extended_is_refused(extends: object, message: str, tmp_path: Path) -> None:
    written(tmp_path, "round.yaml", extends="own.yaml", name="round")
    with pytest.raises(ConfigError, match=message) as caught:
        load_sweep(written(tmp_path, "own.yaml", extends=extends, name="own"))
    assert "\n" not in str(caught.value)
