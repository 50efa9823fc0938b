"""Why a trial's process has failed, by what Ray and Tune say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.process_failures import cause_of_failure, is_without_machine, last_failure

TWO = """Failure # 1 (occurred at 2026-01-02)
ray.exceptions.ActorDiedError: The actor died because its node has died.
Failure # 2 (occurred at 2026-01-03)
Traceback (most recent call last):
  File "a.py", line 1
ValueError: no such axis
"""


def test_the_last_of_several_failures_counts(tmp_path: Path) -> None:
    file = tmp_path / "error.txt"
    file.write_text(TWO)
    told = last_failure(str(file))
    assert cause_of_failure(told) == "ValueError: no such axis"
    assert not is_without_machine(told) and is_without_machine(TWO)


@pytest.mark.parametrize("name", [None, "", "missing.txt"])
def test_where_tune_has_kept_nothing_the_cause_is_unknown(name: str | None) -> None:
    assert cause_of_failure(last_failure(name)) == "unknown cause"


def test_a_loss_is_told_in_words_and_before_the_exception() -> None:
    told = "Traceback\nActorDiedError: the actor's node was preempted: its node has died"
    assert cause_of_failure(told) == "its machine was lost (taken away, as announced)"
