"""Keys of all objects of a sweep. No other module builds keys.

``sweep_id`` is a folder (a Hive partition) and not a column of the files, since pandas and pyarrow refuse a name that is
both. ``trial_id`` is a column, since a folder per trial would mean thousands of folders.
"""

from __future__ import annotations

from typing import Literal

from trainables.config.plugins import folder_of

ReadableTable = Literal["sweeps", "trials", "reports"]
Table = Literal[ReadableTable, "transition_curves", "snapshots"]

RESULTS = "results/v1"
TEACHERS = "teachers"
STUDENTS = "students"
_STUDIES = "studies"
_CODE = "code"
_CHECKPOINTS = "checkpoints"
_TEACHERS_IN_TRAINING = f"{_CHECKPOINTS}/teachers"
_REPORTS = "reports"
_TENSORBOARD = "tensorboard"
FOLDERS = (RESULTS, _STUDIES, _CODE, _CHECKPOINTS, STUDENTS, _REPORTS, _TENSORBOARD, TEACHERS)
"""All folders at the top of a storage."""

PROBE = ".zskt-probe"
"""First part of the name of the object that the preflight writes, and removes, to check that a storage can be used."""


def table_folder(table: Table) -> str:
    """Return the folder of a table, which holds the rows of all sweeps."""
    return f"{RESULTS}/{table}"


def sweep_folder(table: Table, sweep_id: str) -> str:
    """Return the folder of one sweep's rows of a table."""
    return f"{table_folder(table)}/sweep_id={sweep_id}"


def sweep_of(key: str) -> str:
    """Return the id of the sweep to which an object of a table belongs."""
    return key.rpartition("/sweep_id=")[2].partition("/")[0]


def owner(key: str) -> str | None:
    """Return the id of the sweep to which an object of a storage belongs; None for teachers, which sweeps share."""
    if key.startswith(f"{RESULTS}/"):
        return sweep_of(key) or None
    if key.startswith((f"{TEACHERS}/", f"{_TEACHERS_IN_TRAINING}/")):
        return None
    return key.split("/")[1] if key.startswith(FOLDERS) and key.count("/") > 1 else None


def trial_object(sweep_id: str, trial_id: str) -> str:
    """Return the key of the row of a trial that has ended."""
    return f"{sweep_folder('trials', sweep_id)}/{trial_id}.parquet"


def report_object(sweep_id: str, trial_id: str, student_updates: int) -> str:
    """Return the key of one report. A trial that is resumed and repeats a report writes the same object."""
    return f"{sweep_folder('reports', sweep_id)}/{trial_id}-{student_updates:010d}.parquet"


def session_object(sweep_id: str, session: int, event: str) -> str:
    """Return the key of the row for the start or the end of one session of a sweep."""
    return f"{sweep_folder('sweeps', sweep_id)}/session-{session:04d}-{event}.parquet"


def compacted_object(table: Table, sweep_id: str, generation: int) -> str:
    """Return the key of an object with all of a sweep's rows of a table; the highest generation is the newest."""
    return f"{sweep_folder(table, sweep_id)}/part-{generation:04d}.parquet"


def study_folder(sweep_id: str) -> str:
    """Return the folder of a sweep's Optuna study."""
    return f"{_STUDIES}/{sweep_id}"


def code_folder(sweep_id: str) -> str:
    """Return the folder of the copies of the user's own files that a sweep runs."""
    return f"{_CODE}/{sweep_id}"


def checkpoint_folder(sweep_id: str) -> str:
    """Return the folder of the checkpoints of a sweep's trials."""
    return f"{_CHECKPOINTS}/{sweep_id}"


def training_folder(dataset: str, network: str, recipe: str, report_interval: int) -> str:
    """Return the folder of the checkpoints of a teacher in training.

    The report interval changes no weight, but a checkpoint can only be resumed with its own interval.
    """
    return f"{_TEACHERS_IN_TRAINING}/{folder_of(dataset)}/{folder_of(network)}-{recipe}-{report_interval}"


def confirming_sweep(sweep_id: str) -> str:
    """Return the id of the sweep that confirms a search."""
    return f"{sweep_id}-confirm"


def tensorboard_folder(sweep_id: str) -> str:
    """Return the folder of a sweep's TensorBoard files, which are written on request only."""
    return f"{_TENSORBOARD}/{sweep_id}"


def report_page(sweep_id: str) -> str:
    """Return the key of a sweep's report page, a single file that can be sent to others."""
    return f"{_REPORTS}/{sweep_id}/index.html"


def trial_name(number: int) -> str:
    """Return the id of the trial with this number in the study, such as ``t0007``.

    The id begins with a letter, so that no program that reads the rows takes it for a number.
    """
    return f"t{number:04d}"
