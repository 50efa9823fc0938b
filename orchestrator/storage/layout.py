"""Where each object of a sweep lies. The only place that spells keys.

``sweep_id`` is a folder (a Hive partition) and not a column of the files, since pandas and pyarrow refuse a name that is
both. ``trial_id`` is a column, since a folder for each trial would make thousands of them.
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
"""All that lies at the top of a storage."""

PROBE = ".zskt-probe"
"""Begins the name of what is written to find out whether a storage can be used, and removed again."""


def table_folder(table: Table) -> str:
    """All sweeps of one table."""
    return f"{RESULTS}/{table}"


def sweep_folder(table: Table, sweep_id: str) -> str:
    """One sweep of one table."""
    return f"{table_folder(table)}/sweep_id={sweep_id}"


def sweep_of(key: str) -> str:
    """The sweep that an object of a table belongs to."""
    return key.rpartition("/sweep_id=")[2].partition("/")[0]


def owner(key: str) -> str | None:
    """The sweep to which an object of a storage belongs; none for teachers, which sweeps share."""
    if key.startswith(f"{RESULTS}/"):
        return sweep_of(key) or None
    if key.startswith((f"{TEACHERS}/", f"{_TEACHERS_IN_TRAINING}/")):
        return None
    return key.split("/")[1] if key.startswith(FOLDERS) and key.count("/") > 1 else None


def trial_object(sweep_id: str, trial_id: str) -> str:
    """The one row of a trial that has ended."""
    return f"{sweep_folder('trials', sweep_id)}/{trial_id}.parquet"


def report_object(sweep_id: str, trial_id: str, student_updates: int) -> str:
    """One report. A trial that is continued and reports again writes the same object."""
    return f"{sweep_folder('reports', sweep_id)}/{trial_id}-{student_updates:010d}.parquet"


def session_object(sweep_id: str, session: int, event: str) -> str:
    """Start or end of one session of a sweep."""
    return f"{sweep_folder('sweeps', sweep_id)}/session-{session:04d}-{event}.parquet"


def compacted_object(table: Table, sweep_id: str, generation: int) -> str:
    """All rows of a sweep in one object; the highest generation is the newest."""
    return f"{sweep_folder(table, sweep_id)}/part-{generation:04d}.parquet"


def study_folder(sweep_id: str) -> str:
    """Optuna's history of a sweep."""
    return f"{_STUDIES}/{sweep_id}"


def code_folder(sweep_id: str) -> str:
    """Copies of the files of the user's own that a sweep runs."""
    return f"{_CODE}/{sweep_id}"


def checkpoint_folder(sweep_id: str) -> str:
    """Checkpoints of a sweep's trials."""
    return f"{_CHECKPOINTS}/{sweep_id}"


def training_folder(dataset: str, network: str, recipe: str, report_interval: int) -> str:
    """Checkpoints of a teacher that is being trained. The interval changes no weight, but a checkpoint belongs to one."""
    return f"{_TEACHERS_IN_TRAINING}/{folder_of(dataset)}/{folder_of(network)}-{recipe}-{report_interval}"


def confirming_sweep(sweep_id: str) -> str:
    """Id of the sweep that confirms a search."""
    return f"{sweep_id}-confirm"


def tensorboard_folder(sweep_id: str) -> str:
    """TensorBoard's files of a sweep, where they are asked for."""
    return f"{_TENSORBOARD}/{sweep_id}"


def report_page(sweep_id: str) -> str:
    """The page about a sweep that can be sent."""
    return f"{_REPORTS}/{sweep_id}/index.html"


def trial_name(number: int) -> str:
    """Id of the trial with this number in the study: ``t0007``. Begins with a letter, so no reader takes it for a number."""
    return f"t{number:04d}"
