"""Lists the sweeps of a storage, and deletes a sweep."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.table import Table

from orchestrator.errors import SweepNotFoundError
from orchestrator.formatting import readable
from orchestrator.results import SessionEvent, TrialState, read_sweeps, read_trials, rows_of
from orchestrator.storage import SweepStore, layout, local_path
from trainables.storage.object_store import ObjectStore

_STATES = {SessionEvent.STARTED: "running, or cut off", None: "no session recorded"}


@dataclass(frozen=True, kw_only=True)
class StoredSweep:
    """The objects of one sweep on a storage, with a summary of the sweep.

    ``state`` is how the sweep's last session ended; ``trials`` counts the ended trials by state; ``changed`` is the time at
    which the last session began or ended; ``objects`` are keys; ``size`` is in bytes.
    """

    sweep_id: str
    state: str
    trials: Counter[TrialState]
    changed: datetime | None
    objects: tuple[str, ...]
    size: int


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The contents of a storage."""

    sweeps: tuple[StoredSweep, ...]
    shared: int
    """Total size in bytes of the objects that belong to no sweep: teachers, and checkpoints of teachers in training."""

    def table(self) -> Table:
        """Return a table for a terminal with one line for each sweep."""
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for heading in ("sweep", "state", "trials", "last session (UTC)", "objects", "size"):
            table.add_column(heading, justify="right" if heading in {"objects", "size"} else "left")
        for sweep in self.sweeps:
            trials = ", ".join(f"{count} {state.word}" for state, count in sorted(sweep.trials.items()))
            changed = sweep.changed.strftime("%Y-%m-%d %H:%M") if sweep.changed else ""
            table.add_row(
                sweep.sweep_id, sweep.state, trials or "none", changed, str(len(sweep.objects)), readable(sweep.size)
            )
        return table


def take_inventory(store: ObjectStore) -> Inventory:
    """List the sweeps of a storage, without objects outside the folders of ``layout.FOLDERS``."""
    sizes: dict[str, dict[str, int]] = {}
    shared = 0
    for folder in layout.FOLDERS:
        for key, size in store.sizes(folder).items():
            owner = layout.owner(key)
            if owner is None:
                shared += size
            else:
                sizes.setdefault(owner, {})[key] = size
    last = {row["sweep_id"]: row for row in rows_of(read_sweeps(store).select(["sweep_id", "event", "at"]))}
    trials: dict[str, Counter[TrialState]] = {}
    for row in read_trials(store).select(["sweep_id", "state"]).to_pylist():
        trials.setdefault(row["sweep_id"], Counter())[TrialState(row["state"])] += 1
    sweeps = []
    for sweep_id, objects in sorted(sizes.items()):
        row = last.get(sweep_id)
        event = SessionEvent(row["event"]) if row else None
        sweeps.append(
            StoredSweep(
                sweep_id=sweep_id,
                state=_STATES.get(event, str(event)),
                trials=trials.get(sweep_id, Counter()),
                changed=row["at"] if row else None,
                objects=tuple(objects),
                size=sum(objects.values()),
            )
        )
    return Inventory(sweeps=tuple(sweeps), shared=shared)


def find_sweep(sweep_store: SweepStore) -> StoredSweep:
    """Return the stored objects and summary of one sweep.

    Raises:
        SweepNotFoundError: the storage has no object of the sweep.
    """
    known = take_inventory(sweep_store.storage).sweeps
    for sweep in known:
        if sweep.sweep_id == sweep_store.sweep_id:
            return sweep
    there = ", ".join(sweep.sweep_id for sweep in known) or "no sweeps"
    raise SweepNotFoundError(f"there is no sweep {sweep_store.sweep_id}; this storage has {there}")


def delete_sweep(store: ObjectStore, sweep: StoredSweep) -> None:
    """Delete a sweep's results, study, checkpoints, students and reports. Teachers stay.

    The study is deleted first: after an interruption the remaining objects cannot be taken for a sweep that can be resumed,
    and deleting the sweep once more removes them.

    Raises:
        SweepBusyError: the sweep is being run on this machine.
    """
    with SweepStore(store, sweep.sweep_id).lock():
        study = store.keys(layout.study_folder(sweep.sweep_id))  # includes the lock file held here
        store.delete_all(study)
        store.delete_all(set(sweep.objects) - set(study))
    for folder in {key.rpartition("/")[0] for key in (*sweep.objects, *study)}:
        path = local_path(store, folder)
        if path is not None:
            _remove_empty(path, Path(store.root))


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and its parents up to ``root`` while they are empty, since a bucket has no empty folders either."""
    while folder != root:
        with contextlib.suppress(FileNotFoundError):
            if os.listdir(folder):  # noqa: PTH208 (listdir reads the folder once)
                return
            folder.rmdir()
        folder = folder.parent
