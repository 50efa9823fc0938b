from __future__ import annotations

import math
from typing import Any

import optuna
from optuna.trial import TrialState

from orchestrator.config import Assignment, SweepConfig
from orchestrator.results import ResultWriter, read_trials
from orchestrator.search.recovery import rebuild_study
from orchestrator.search.space import infer_domains
from orchestrator.search.study import assignment_of, open_study, settings_of_trial
from orchestrator.storage import SweepStore, layout
from search_spaces import resolve_space
from tests.support.searches import new_study
from tests.support.sessions import SPACE, SWEEP, Session
from tests.support.tiny import make_distiller
from trainables.config import ZeroShotConfig
from trainables.storage.checkpoint import CheckpointStore, copy_state
from trainables.storage.object_store import ObjectStore


def rebuilt(store: ObjectStore, sweep: SweepConfig = SWEEP) -> tuple[optuna.Study, int]:
    domains = {} if sweep.cases else infer_domains(resolve_space(SPACE), sweep, forbidden=())
    study = new_study()
    return study, rebuild_study(study, SweepStore(store, "sweep-a"), sweep, domains)


def described(study: optuna.Study) -> list[Any]:
    return [
        (t.number, t.state, t.values, t.params, t.intermediate_values, t.constraints, t.distributions)
        for t in study.trials
    ]


def checkpoint(store: ObjectStore, config: ZeroShotConfig, name: str) -> None:
    training = make_distiller(**config.model_dump())
    training.advance()
    folder = CheckpointStore(store.below(layout.checkpoint_folder("sweep-a")))
    folder.save(name, training.done, copy_state(training.state_dict()))


def test_ended_trials_come_back_as_they_were(store: ObjectStore) -> None:
    session = Session(store)
    first, second, third = (session.start() for _ in range(3))
    session.report(first, 1, validation_accuracy=math.nan)
    session.report(first, 2, validation_accuracy=0.3)
    session.report(first, 4, validation_accuracy=0.6)
    session.recorder.on_trial_complete(0, [], first)
    session.report(second, 2, validation_accuracy=0.2)
    session.report(second, 3, validation_accuracy=math.inf)
    session.recorder.on_trial_complete(0, [], second)
    session.report(third, 2, validation_accuracy=math.nan, diverged=True)
    session.recorder.on_trial_complete(0, [], third)
    study, found = rebuilt(store)
    assert found == 3
    before, after = described(open_study(SweepStore(store, "sweep-a"), modes=["max"])), described(study)
    assert [trial[1] for trial in before] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert after == before


def test_settings_of_a_row_from_before_a_field_are_those_that_a_search_proposes(store: ObjectStore) -> None:
    session = Session(store)
    first = session.start()
    session.report(first, 4, validation_accuracy=0.6)
    session.recorder.on_trial_complete(0, [], first)
    (row,) = read_trials(store, "sweep-a").to_pylist()
    of_later = {"config_allow_slow_precision": None, "config_cuda_graphs": None}
    ResultWriter(SweepStore(store, "sweep-a")).write_trial(
        {k: v for k, v in (row | of_later).items() if k != "sweep_id"}
    )
    (trial,) = rebuilt(store)[0].trials
    assert settings_of_trial(trial) == SWEEP.trial_config(trial.params).model_dump()


def test_a_trial_that_was_running_goes_on_with_the_settings_of_its_checkpoint(store: ObjectStore) -> None:
    session = Session(store)
    first, second, third = (session.start() for _ in range(3))
    settings = {name: value for name, value in second.config.items() if name not in {"trial_id", "case"}}
    checkpoint(store, ZeroShotConfig.model_validate(settings), "t0001")
    session.report(second, 2, validation_accuracy=0.4)
    session.report(third, 2, validation_accuracy=0.5)
    session.report(third, 4, validation_accuracy=0.5)
    session.recorder.on_trial_complete(0, [], third)
    study, found = rebuilt(store)
    assert found == 3
    assert [t.state for t in study.trials] == [TrialState.RUNNING, TrialState.RUNNING, TrialState.COMPLETE]
    assert study.trials[1].params == {"temperature": second.config["temperature"]}
    assert study.trials[1].intermediate_values == {2: 0.4}
    assert first.config["trial_id"] == "t0000" and not study.trials[0].params  # had no checkpoint: asked for anew


def test_cases_find_their_assignments_again(store: ObjectStore) -> None:
    trial = dict(SWEEP.trial)
    sweep = SweepConfig.model_validate(
        {"name": "test", "trial": trial, "cases": {"plain": {}, "warm": {"temperature": 2.0}}, "seeds": [0, 1]}
    )
    config = sweep.case_config(Assignment(case="warm", seed=1))
    assert isinstance(config, ZeroShotConfig)
    checkpoint(store, config, "t0000")
    study, _ = rebuilt(store, sweep)
    assert assignment_of(study.trials[0]) == Assignment(case="warm", seed=1)


def test_a_sweep_that_has_not_begun_has_nothing_to_rebuild(store: ObjectStore) -> None:
    study, found = rebuilt(store)
    assert (found, study.trials) == (0, [])
