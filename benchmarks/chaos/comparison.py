"""The processes of trials, and the differences between two runs of one sweep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trainables.metrics import TIMES as METRIC_TIMES

TIMES = {
    *METRIC_TIMES,
    "ended_at",
    "reported_at",
    "recoveries",
    "recovery_causes_json",
    "sweep_id",
}
"""Columns in which two runs of one sweep may differ."""


def differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    """Return the differences between two runs of one sweep, without ``TIMES``.

    Returns:
        One tuple for each difference: trial id, pseudo batches, column, our value, their value.
    """
    assert [(row["trial_id"], row["pseudo_batches"]) for row in ours] == [
        (row["trial_id"], row["pseudo_batches"]) for row in theirs
    ]
    return [
        (row["trial_id"], row["pseudo_batches"], column, row[column], other[column])
        for row, other in zip(ours, theirs, strict=True)
        for column in row.keys() - TIMES
        if repr(row[column]) != repr(other[column])  # by repr, since NaN is not equal to itself
    ]


def own_trial_processes() -> list[int]:
    """Return the ids of processes that run a trial and descend from this one, to leave other sweeps on the machine alone."""
    parents, trials = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(folder.name)] = int(status.partition("PPid:")[2].split()[0])
        if command.startswith((b"ray::TrialTrainable", b"ray::ResourceTrainable")):
            trials.append(int(folder.name))

    def is_ours(process: int) -> bool:
        while process > 1 and process != os.getpid():
            process = parents.get(process, 0)
        return process == os.getpid()

    return [process for process in trials if is_ours(process)]
