"""What only lets a sweep run may be said after it has begun."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.config import SweepConfig
from orchestrator.errors import SweepMismatchError
from orchestrator.results import ResultWriter, SessionEvent, TrialState
from orchestrator.results.sessions import session_row
from orchestrator.run.checks import check_same_sweep
from orchestrator.search.study import open_study
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.storage import SweepStore
from search_spaces import resolve_space
from tests.support.searches import suggest
from tests.support.tiny import tiny_settings
from trainables.storage.object_store import ObjectStore

HALF = {"precision": "bfloat16"}
MEANT = {**HALF, "allow_slow_precision": True}


def search(trial: dict[str, Any], **more: Any) -> SweepConfig:
    space = {"temperature": {"type": "categorical", "choices": [1, 2]}}
    return SweepConfig.model_validate({"name": "a", "trial": tiny_settings(**trial), "space": space, **more})


def comparison(case: dict[str, Any]) -> SweepConfig:
    cases = {"baseline": {}, "trial": case}
    return SweepConfig.model_validate({"name": "a", "trial": tiny_settings(), "cases": cases})


def by_transitions(**more: Any) -> SweepConfig:
    chosen = {"objective": "mean_transition_error", "scheduler": {"name": "none"}, "allow_test_selection": True}
    return search({"transition_images": 9}, **chosen, **more)


def begun(store: ObjectStore, sweep: SweepConfig) -> None:
    ResultWriter(SweepStore(store, "old")).write_session(
        session_row(sweep, [], number=0, event=SessionEvent.STARTED, cpus=1, gpus=0)
    )


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (by_transitions().model_copy(update={"allow_test_selection": False}), by_transitions()),
        (search(HALF), search(MEANT)),
        (comparison(HALF), comparison(MEANT)),
    ],
    ids=["test images", "a slow precision", "in a case"],
)
def test_a_sweep_from_before_a_permission_was_asked_for_goes_on_with_it(
    then: SweepConfig, now: SweepConfig, store: ObjectStore
) -> None:
    begun(store, then)
    check_same_sweep(SweepStore(store, "old"), now)
    check_same_sweep(SweepStore(store, "old"), then)
    assert then.default_sweep_id != now.default_sweep_id  # as it has been: ids stay
    with pytest.raises(SweepMismatchError, match="scale: 1.0 then, 0.5 now") as caught:
        check_same_sweep(SweepStore(store, "old"), now.model_copy(update={"scale": 0.5}))
    assert "allow_" not in str(caught.value)


def test_trials_that_had_begun_may_do_what_is_allowed_now_and_are_no_others(store: ObjectStore) -> None:
    def search_of(sweep: SweepConfig) -> SweepSearch:
        study = open_study(SweepStore(store, "old"), modes=["max"])
        return SweepSearch(study, sweep, resolve_space(sweep.space), sweep_id="old")

    before = search_of(search(HALF))
    ended, running = suggest(before), suggest(before)
    before.tell(ended["trial_id"], TrialState.COMPLETED, {"validation_accuracy": 0.5})
    after = search_of(search(MEANT))
    assert suggest(after) == {**running, "allow_slow_precision": True}
    assert after.suggest() is None  # both settings of the space have been tried
