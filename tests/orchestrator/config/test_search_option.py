"""``--search FIELD=DOMAIN``: a space without a file."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import yaml

from orchestrator.config import SweepConfig
from orchestrator.config.domains import parse_domains
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.search.space import resolve_domains
from trainables.config import SupervisedConfig, ZeroShotConfig

Float, Int, Categorical = (
    optuna.distributions.FloatDistribution,
    optuna.distributions.IntDistribution,
    optuna.distributions.CategoricalDistribution,
)


def file_of(folder: Path, **fields: object) -> str:
    path = folder / "mine.yaml"
    trial = {"dataset": "digits", "teacher": "lenet", "student": "lenet", "total_pseudo_batches": 20}
    path.write_text(yaml.safe_dump({"name": "mine", "trial": trial, "num_trials": 4, **fields}))
    return str(path)


def domains_of(sweep: SweepConfig) -> dict[str, optuna.distributions.BaseDistribution]:
    _, domains = resolve_domains(sweep)
    return dict(domains)


def test_a_domain_is_replaced_and_the_others_kept() -> None:
    sweep = load_sweep("quickstart", search=["temperature=1:8:log", "student_steps=1,5,10,20"])
    assert domains_of(sweep) == {
        "generator_steps": Int(1, 3),
        "student_steps": Categorical([1, 5, 10, 20]),
        "temperature": Float(1.0, 8.0, log=True),
    }


def test_it_is_the_sweep_that_a_file_with_that_domain_is(tmp_path: Path) -> None:
    written = load_sweep(file_of(tmp_path, space={"temperature": {"type": "float", "low": 1, "high": 8, "log": True}}))
    typed = load_sweep(file_of(tmp_path), search=["temperature=1:8:log"])
    assert typed.default_sweep_id == written.default_sweep_id


@pytest.mark.parametrize(
    ("typed", "domain"),
    [
        ("generator_steps=1:4", Int(1, 4)),
        ("generator_steps=1:64:log", Int(1, 64, log=True)),
        ("student_lr=1e-4:1e-2:log", Float(1e-4, 1e-2, log=True)),
        ("attention_weight=0:250", Float(0.0, 250.0)),
        ("gradient_clip_norm=1:10", Float(1.0, 10.0)),
        ("gradient_clip_norm=1,5,none", Categorical([1.0, 5.0, None])),
        ("latents=shared,fresh", Categorical(["shared", "fresh"])),
        ("student=lenet, wrn-10-1", Categorical(["lenet", "wrn-10-1"])),
    ],
)
def test_ends_and_values_have_their_fields_type(typed: str, domain: object, tmp_path: Path) -> None:
    file = file_of(tmp_path, trial={"dataset": "digits", "teacher": "lenet", "attention_weight": 0, "student": "lenet"})
    found = domains_of(load_sweep(file, search=[typed]))
    assert list(found.values()) == [domain]


def test_a_value_that_needs_another_field_has_its_fields_type_too() -> None:
    found = parse_domains(["learning_rate_horizon=1000,2000"], ZeroShotConfig)
    assert found["learning_rate_horizon"]["choices"] == [1000, 2000]
    found = parse_domains(["images_per_class=10:100"], SupervisedConfig)
    assert found["images_per_class"] == {"type": "int", "low": 10, "high": 100}


@pytest.mark.parametrize("space", ["step_ratio_temperature", "{folder}/spaces.py:mine"])
def test_a_space_that_is_a_function_keeps_its_other_fields(space: str, tmp_path: Path) -> None:
    (tmp_path / "spaces.py").write_text(
        "def mine(trial):\n"
        "    steps = trial.suggest_int('generator_steps', 1, 10)\n"
        "    return {'generator_steps': steps, 'student_steps': steps * 2, "
        "'temperature': trial.suggest_float('temperature', 0.5, 8.0, log=True)}\n"
    )
    file = file_of(tmp_path, space=space.format(folder=tmp_path))
    sweep = load_sweep(file, search=["temperature=1,2", "batch_size=16,32"])
    found = domains_of(sweep)
    assert found["temperature"] == Categorical([1.0, 2.0])
    assert found["batch_size"] == Categorical([16, 32])
    assert found["generator_steps"] == Int(1, 10)
    assert sweep.default_sweep_id != load_sweep(file).default_sweep_id


def test_what_the_file_fixes_is_searched_and_that_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    file = file_of(tmp_path, trial={"dataset": "digits", "teacher": "lenet", "student": "lenet", "batch_size": 16})
    sweep = load_sweep(file, search=["batch_size=16,32"], say=said.append)
    assert "batch_size" not in sweep.trial
    assert said == [f"batch_size: searched by --search instead of fixed by {file}"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("temperature", "--search temperature: expected LOW:HIGH"),
        ("temperature=", "expected LOW:HIGH"),
        ("temperature=2", "one value is fixed with --set temperature=2"),
        ("temperature=1:8:lin", "expected LOW:HIGH"),
        ("temperature=8:1", "low=8.* is above high=1"),
        ("temperature=0:8", "--search temperature=0:8: temperature=0: not allowed"),
        ("temperature=-1,2", "--search temperature=-1,2: temperature"),
        ("temperature=1,,2", "a value is empty"),
        ("temperatur=1:8", "unknown field 'temperatur'.*temperature"),
        ("gradient_clip_norm=0:10", "gradient_clip_norm=0: not allowed"),
        ("learning_rate_horizon=many,2000", "learning_rate_horizon='?many'?: "),
        ("student_steps=1.5:3", "student_steps is a whole number"),
        ("latents=1:2", "latents is no number; list its values"),
        ("student=lenet,lenett", "unknown network 'lenett'"),
        ("attention_weight=0:250:log", "log: true needs low > 0"),
        ("seed=1,2", "seed cannot vary within a sweep"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(typed: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_domains(load_sweep(file_of(tmp_path), search=[typed]))


def test_it_does_not_go_with_set_twice_or_with_cases(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="temperature: fixed by --set and searched by --search"):
        load_sweep("quickstart", search=["temperature=1:8"], assignments=["temperature=2"])
    with pytest.raises(ConfigError, match="temperature is searched twice"):
        load_sweep("quickstart", search=["temperature=1:8", "temperature=1,2"])
    with pytest.raises(ConfigError, match="is a sweep of cases, in which nothing is searched"):
        load_sweep("digits-table-1", search=["temperature=1:8"])
