from __future__ import annotations

from itertools import product
from typing import Any

import optuna
import pytest
from optuna.search_space import IntersectionSearchSpace

from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.results import TrialState
from orchestrator.samplers.base import SamplerConfig
from orchestrator.samplers.registry import SAMPLERS
from orchestrator.search.study import SweepStudy, open_study
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.storage import SweepStore
from search_spaces import resolve_space
from tests.support.sampler_blocks import sampler_block
from tests.support.searches import suggest
from trainables.storage.object_store import ObjectStore

SPACE = {
    "student_steps": {"type": "int", "low": 1, "high": 20},
    "temperature": {"type": "float", "low": 0.5, "high": 8.0, "log": True},
}
DOMAINS: dict[str, optuna.distributions.BaseDistribution] = {
    "student_steps": optuna.distributions.IntDistribution(1, 20),
    "temperature": optuna.distributions.FloatDistribution(0.5, 8.0, log=True),
}
GRID: dict[str, list[float]] = {"student_steps": [5, 12], "temperature": [1.0, 2.0, 4.0]}


def sampler_config(name: str, **fields: Any) -> SamplerConfig:
    grid: dict[str, Any] = {"grid": GRID} if name == "grid" else {}
    return SAMPLERS.parse(sampler_block(name, **grid, **fields))


def run(study: SweepStudy, config: SamplerConfig, trials: int, num_trials: int = 7) -> list[dict[str, Any]]:
    """Ask and tell that many trials of a sweep; a made-up accuracy is best at 12 steps and temperature 3."""
    sweep = SweepConfig.model_validate(
        {"name": "a", "trial": {"dataset": "digits"}, "space": SPACE, "num_trials": num_trials, "sampler": config}
    )
    first = {"student_steps": 10, "temperature": 1.0}
    search = SweepSearch(study, sweep, resolve_space(SPACE), sweep_id="a", first=first)
    asked = []
    for _ in range(trials):
        suggestion = suggest(search)
        settings = {field: suggestion[field] for field in SPACE}
        asked.append(settings)
        value = 1 - abs(settings["student_steps"] - 12) / 40 - abs(settings["temperature"] - 3) / 16
        search.tell(suggestion["trial_id"], TrialState.COMPLETED, {"validation_accuracy": value})
    return asked


@pytest.mark.parametrize("name", SAMPLERS.kinds)
def test_every_sampler_begins_with_the_published_settings_and_proposes_the_same_after_an_interruption(
    name: str, store: ObjectStore
) -> None:
    config = sampler_config(name)
    whole = run(open_study(SweepStore(store, "sweep-whole"), modes=["max"]), config, 7)
    begun = run(open_study(SweepStore(store, "sweep-parts"), modes=["max"]), config, 4)
    continued = run(
        open_study(SweepStore(store, "sweep-parts"), modes=["max"]), config, 3
    )  # by a new process, as far as it can tell
    assert whole[0] == {"student_steps": 10, "temperature": 1.0}
    assert begun + continued == whole
    assert len({tuple(settings.values()) for settings in whole}) >= 6


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "nsgaii"])
def test_what_trials_share_is_found_out_once_and_moves_no_proposal(
    name: str, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = SweepConfig.model_validate(
        {
            "name": "a",
            "trial": {"dataset": "digits"},
            "space": SPACE,
            "num_trials": 40,
            "sampler": sampler_config(name),
            "scheduler": {"name": "asha"},
        }
    )

    def proposed(sweep_id: str) -> tuple[list[tuple[object, ...]], int]:
        """Settings of trials of which two run at a time, ending in another order and in every way."""
        study = open_study(SweepStore(store, sweep_id), modes=["max"])
        search = SweepSearch(study, sweep, resolve_space(SPACE), sweep_id=sweep_id)
        running, asked, memories = [], [], []
        for number in range(24):
            suggestion = suggest(search)
            running.append(suggestion)
            asked.append(tuple(suggestion[field] for field in SPACE))
            memories += [it for it in vars(search._sampler).values() if isinstance(it, IntersectionSearchSpace)]
            if len(running) == 2:
                ended = running.pop(number % 3 == 0)
                search.report(ended["trial_id"], 9, ended["temperature"] / 9)
                state: TrialState = (
                    TrialState.COMPLETED,
                    TrialState.STOPPED_EARLY,
                    TrialState.COMPLETED,
                    TrialState.FAILED,
                    TrialState.DIVERGED,
                )[number % 5]
                search.tell(ended["trial_id"], state, {"validation_accuracy": ended["temperature"] / 9})
        return asked, len({id(memory) for memory in memories})

    with_memory, memories = proposed("sweep-a")
    monkeypatch.setattr("orchestrator.search.sweep_search.keep_search_space", lambda sampler, of: None)
    without, others = proposed("sweep-b")
    assert with_memory == without
    assert (memories, others) == (1, 24)


def test_a_grid_is_gone_through_once(store: ObjectStore) -> None:
    asked = run(open_study(SweepStore(store, "sweep-a"), modes=["max"]), sampler_config("grid"), 7)
    assert [tuple(settings.values()) for settings in asked[1:]] == list(product(*GRID.values()))


def test_a_sweep_longer_than_its_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="num_trials=8: the grid has 6 combinations.*allowed: up to 7"):
        SweepConfig.model_validate(
            {"name": "a", "space": SPACE, "num_trials": 8, "sampler": {"name": "grid", "grid": GRID}}
        )


def test_arguments_reach_the_sampler() -> None:
    config = sampler_config("tpe", arguments={"multivariate": False, "n_ei_candidates": 7})
    sampler = config.build(seed=0, trial_number=0)
    assert isinstance(sampler, optuna.samplers.TPESampler)
    assert (sampler._n_startup_trials, sampler._n_ei_candidates) == (3, 7)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "tpe", "arguments": {"n_startup": 3}}, "sampler: tpe: .*n_startup"),
        ({"name": "qmc", "arguments": {"qmc_type": "lattice"}}, "sampler: qmc: .*lattice"),
        (
            {"name": "grid", "grid": {"temperature": [1]}},
            "it must name what the space varies: student_steps, temperature",
        ),
        ({"name": "grid", "grid": {**GRID, "temperature": [9]}}, "temperature=9 lies outside of the space"),
    ],
)
def test_what_does_not_fit_is_said_before_a_trial_starts(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SAMPLERS.parse(config).check(DOMAINS)


@pytest.mark.parametrize(
    "config", [{"name": "grid"}, {"name": "tpe", "grid": GRID}, {"name": "grid", "grid": GRID, "arguments": {"a": 1}}]
)
def test_a_grid_belongs_to_the_grid(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="grid"):
        SAMPLERS.parse(config)


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes"])
def test_samplers_with_a_model_find_the_better_half(name: str, store: ObjectStore) -> None:
    asked = run(open_study(SweepStore(store, "sweep-a"), modes=["max"]), sampler_config(name), 24, num_trials=24)
    early, late = ([abs(settings["student_steps"] - 12) for settings in part] for part in (asked[1:8], asked[-7:]))
    assert sum(late) < sum(early)
