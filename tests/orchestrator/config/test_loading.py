"""What a search varies, by its file and the command line: nothing silently, and no trial twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import FixedTrial
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.schedulers.registry import SCHEDULERS
from orchestrator.search.space import resolve_domains
from search_spaces import resolve_space
from search_spaces.fields import PinnedTrial

TRIAL = {"dataset": "digits", "teacher": "lenet", "student": "lenet", "total_pseudo_batches": 6}
SPACE = {
    "batch_size": {"type": "categorical", "choices": [32, 64, 128]},
    "temperature": {"type": "float", "low": 1, "high": 4},
}
FUNCTION = """
def space(trial):
    found = {"batch_size": trial.suggest_categorical("batch_size", [32, 64, 128])}
    if found["batch_size"] == 128:  # asked for now and then only
        found["temperature"] = trial.suggest_float("temperature", 1, 4)
    return found
"""


@pytest.fixture(params=["inline", "function"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Writes a sweep's file; its space in the file itself, or as a function."""
    (tmp_path / "space.py").write_text(FUNCTION)
    space = SPACE if request.param == "inline" else f"{tmp_path}/space.py:space"

    def written(**fields: Any) -> str:
        file = tmp_path / "both.yaml"
        file.write_text(yaml.safe_dump({"name": "both", "trial": TRIAL, "space": space, **fields}))
        return str(file)

    return written


def test_a_field_both_fixed_and_searched_in_a_file_is_refused_by_name(write: Any) -> None:
    file = write(trial={**TRIAL, "batch_size": 128, "temperature": 2})
    with pytest.raises(ConfigError, match="batch_size, temperature: fixed under trial and searched in space") as caught:
        load_sweep(file)
    assert str(caught.value).startswith(file) and "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="fixed under trial and searched"):
        load_sweep(file, assignments=["temperature=3"])


def test_a_field_that_is_taken_out_of_the_search_is_said(write: Any) -> None:
    said: list[str] = []
    sweep = load_sweep(write(), assignments=["temperature=2", "student_lr=0.001"], say=said.append)
    assert said == ["temperature is fixed by --set and no longer searched"]
    assert (sweep.num_trials, sweep.trial["temperature"]) == (12, 2)


def test_a_search_of_which_nothing_is_left_is_one_trial(write: Any) -> None:
    said: list[str] = []
    both = ["temperature=2", "batch_size=128"]
    assert load_sweep(write(num_trials=3), assignments=both, say=said.append).num_trials == 1
    assert said == [
        "batch_size, temperature are fixed by --set and no longer searched",
        "nothing is left to search: one trial instead of 3",
    ]
    with pytest.raises(ConfigError, match="scheduler=pbt: nothing is searched"):
        load_sweep(write(scheduler={"name": "pbt", "generations": 2}), assignments=both)


@pytest.mark.parametrize(
    "given",
    [
        {"flags": {"scheduler": {"name": "median", "minimum_trials": 2}}},
        {"assignments": ["scheduler.name=median", "scheduler.minimum_trials=2"]},
        {"flags": {"scheduler": {"minimum_trials": 2}}, "assignments": ["scheduler.name=median"]},
    ],
)
def test_a_flag_that_names_another_kind_leaves_out_what_the_file_says_of_its_own(given: dict[str, Any]) -> None:
    said: list[str] = []
    sweep = load_sweep("quickstart", **given, say=said.append)
    assert sweep.scheduler == SCHEDULERS.parse({"name": "median", "minimum_trials": 2})
    assert said == ["scheduler: median replaces asha, whose grace=0.34 no longer applies"]


def test_a_flag_of_the_same_kind_changes_only_what_it_names(write: Any) -> None:
    said: list[str] = []
    flags = {"scheduler": {"name": "asha", "reduction_factor": 4}}
    assert load_sweep("quickstart", flags=flags, say=said.append).scheduler == SCHEDULERS.parse(
        {"name": "asha", "grace": 0.34, "reduction_factor": 4}
    )
    assert said == []
    file = write(sampler={"startup_trials": 4, "name": "tpe"})
    assert load_sweep(file, assignments=["sampler.name=random"], say=said.append).sampler.name == "random"
    assert said == ["sampler: random replaces tpe, whose startup_trials=4 no longer applies"]


@pytest.mark.parametrize(
    "given",
    [
        {"flags": {"scheduler": {"name": "median", "reduction_factor": 4}}},
        {"assignments": ["scheduler.name=median", "scheduler.reduction_factor=4"]},
    ],
)
def test_what_does_nothing_beside_the_kind_that_a_flag_names_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="reduction_factor='?4'? does nothing: it is a field of asha"):
        load_sweep("quickstart", **given)
    with pytest.raises(ConfigError, match="unknown scheduler 'medium'; did you mean median"):
        load_sweep("quickstart", assignments=["scheduler.name=medium"])


def test_without_a_space_there_is_one_trial_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(yaml.safe_dump({"name": "one", "trial": TRIAL}))
    assert load_sweep(str(file)).num_trials == 1
    assert load_sweep(str(file), flags={"num_trials": 1}).num_trials == 1
    with pytest.raises(ConfigError, match="^--num-trials=2: there is no space.*cases: .*seeds: "):
        load_sweep(str(file), flags={"num_trials": 2})
    file.write_text(yaml.safe_dump({"name": "one", "trial": TRIAL, "num_trials": 12}))
    with pytest.raises(ConfigError, match=f"^{file}: num_trials=12: there is no space"):
        load_sweep(str(file))


def test_a_searched_number_that_may_be_none_is_fixed_to_none(tmp_path: Path) -> None:
    file = tmp_path / "clip.yaml"
    domain = {"type": "float", "low": 0.1, "high": 4}
    space = {"gradient_clip_norm": domain, "temperature": domain}
    file.write_text(yaml.safe_dump({"name": "clip", "trial": TRIAL, "space": space}))
    sweep = load_sweep(str(file), assignments=["gradient_clip_norm=none"])
    assert sweep.trial["gradient_clip_norm"] is None and sweep.num_trials == 12
    config = sweep.trial_config(resolve_space(space)(PinnedTrial(FixedTrial({"temperature": 2}), sweep.trial)))
    assert config.model_dump()["temperature"] == 2


def test_the_command_says_it_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump({"name": "both", "trial": {**TRIAL, "temperature": 2}, "space": SPACE}))
    result = CliRunner().invoke(app, ["sweep", str(file), "--storage", str(tmp_path / "runs")])
    assert result.exit_code == ConfigError.exit_code
    [line] = result.output.splitlines()
    assert line.startswith(f"error: {file}: temperature: fixed under trial and searched in space")


@pytest.mark.parametrize("tight", ["loss", "budget"])
def test_fixed_fields_need_fit_only_with_what_is_searched(tight: str, tmp_path: Path) -> None:
    """A loss of which all weights are searched, and a batch of which the published size is above the budget."""
    file = tmp_path / "fits.yaml"
    weight = {"type": "float", "low": 0.1, "high": 2}
    sweeps: dict[str, dict[str, Any]] = {
        "loss": {
            "trial": {**TRIAL, "method": "data_free", "adversarial_weight": 0},
            "space": {"one_hot_weight": weight, "balance_weight": weight},
        },
        "budget": {
            "trial": {key: value for key, value in TRIAL.items() if key != "total_pseudo_batches"},
            "space": {"batch_size": {"type": "int", "low": 2, "high": 4}},
            "budget": {"unit": "flops", "amount": 6_000_000_000},
        },
    }
    sweep = sweeps[tight]
    file.write_text(yaml.safe_dump({"name": "fits", **sweep}))
    found = load_sweep(str(file))
    (common,) = found.configs()
    assert all(getattr(common, field) != type(common).model_fields[field].default for field in sweep["space"])
    assert "adversarial_weight" not in found.trial or found.trial["adversarial_weight"] == 0
    assert not found.trial.keys() & sweep["space"].keys(), "what is searched is not fixed"
    resolve_domains(found)
    file.write_text(yaml.safe_dump({"name": "fits", **sweep, "space": {"temperature": SPACE["temperature"]}}))
    with pytest.raises(ConfigError, match="the source has no loss|of what one of the pseudo batches"):
        load_sweep(str(file))
