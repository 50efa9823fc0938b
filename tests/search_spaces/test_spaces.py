from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from orchestrator.config.loading import load_sweep
from orchestrator.search.space import infer_domains
from search_spaces import preset_names, resolve_space, space_names
from trainables.config import ZeroShotConfig, shared_fields


def ask(space: str | dict[str, Any], seed: int = 0) -> tuple[dict[str, Any], optuna.Trial]:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    return dict(resolve_space(space)(trial)), trial


@pytest.mark.parametrize("name", space_names())
def test_named_spaces_give_valid_configs_and_name_their_parameters_after_fields(name: str) -> None:
    for seed in range(20):
        suggestion, trial = ask(name, seed)
        ZeroShotConfig.model_validate(suggestion)
        assert trial.params == suggestion


def test_the_default_study_has_the_agreed_bounds() -> None:
    _, trial = ask("step_ratio_temperature")
    domains = {name: (d.low, d.high, d.log) for name, d in trial.distributions.items()}  # type: ignore[attr-defined]
    assert domains == {
        "generator_steps": (1, 10, False),
        "student_steps": (1, 20, False),
        "temperature": (0.5, 8.0, True),
    }


def test_inline_domains() -> None:
    suggestion, trial = ask(
        {
            "student_steps": {"type": "int", "low": 2, "high": 4},
            "student_lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
            "batch_size": {"type": "categorical", "choices": [64, 128]},
        }
    )
    assert suggestion == trial.params
    assert 2 <= suggestion["student_steps"] <= 4
    assert trial.distributions["student_lr"].log  # type: ignore[attr-defined]
    assert suggestion["batch_size"] in (64, 128)


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ({"temperature": {"type": "float", "low": 2, "high": 1}}, "low=2.0 is above high=1.0"),
        ({"temperature": {"type": "float", "low": 0, "high": 1, "log": True}}, "log: true needs low > 0"),
        ({"temperature": {"type": "float", "low": 1}}, "temperature.float.high: Field required"),
        ({"temperature": {"low": 1, "high": 2}}, "temperature"),
        ({"temperature": {"type": "float", "low": 1, "high": 2, "step": 1}}, "Extra inputs"),
        ({"batch_size": {"type": "categorical", "choices": []}}, "at least 1 item"),
        (
            "no_such_space",
            "unknown space 'no_such_space'; known: ablations, everything, losses, optimisation, regular",
        ),
        ("nowhere.py:space", "there is no file nowhere.py"),
    ],
)
def test_malformed_spaces_are_refused(space: str | dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        resolve_space(space)


def test_a_users_own_space(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def space(trial):\n"
        "    values = {'generator_steps': trial.suggest_int('generator_steps', 1, 2)}\n"
        "    if values['generator_steps'] == 2:\n"
        "        values['temperature'] = trial.suggest_float('temperature', 1, 2)\n"
        "    return values\n"
    )
    keys = {tuple(ask(f"{file}:space", seed)[0]) for seed in range(20)}
    assert keys == {("generator_steps",), ("generator_steps", "temperature")}
    with pytest.raises(ValueError, match=r"space '.*mine\.py:other': .*mine\.py defines no other"):
        resolve_space(f"{file}:other")


def test_a_file_of_spaces_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    with pytest.raises(ValueError, match=r"there is no file .*mine\.py"):
        resolve_space(f"{file}:space")
    # Of a file that itself misses another one it is not said that it is not there.
    file.write_text("space = open('grid.csv')\n")
    with pytest.raises(ValueError, match=r"mine\.py fails: FileNotFoundError: .*grid\.csv"):
        resolve_space(f"{file}:space")
    (tmp_path / "other.py").write_text("space = 7\n")
    with pytest.raises(ValueError, match="expected a function, found 7"):
        resolve_space(f"{tmp_path}/other.py:space")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_valid_sweep_with_a_fitting_space(name: str) -> None:
    sweep = load_sweep(name)
    assert sweep.name == name
    assert sweep.description.endswith(".")
    infer_domains(resolve_space(sweep.space), sweep, forbidden=shared_fields())
