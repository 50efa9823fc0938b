"""The result tables as pandas frames, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.results.reader import read_reports, read_sweeps, read_trials
from orchestrator.storage import find_storage

if TYPE_CHECKING:
    import pandas as pd


def trials_frame(storage: str, sweep_id: str | None = None) -> pd.DataFrame:
    """Return a frame with one row for each ended trial of one sweep or of all sweeps.

    Args:
        storage: Folder or URI, such as ``./runs`` or ``s3://bucket/prefix``.
        sweep_id: Id of one sweep. None means all sweeps of the storage.
    """
    frame: pd.DataFrame = read_trials(find_storage(storage), sweep_id).to_pandas()
    return frame


def reports_frame(storage: str, sweep_id: str | None = None) -> pd.DataFrame:
    """Return a frame with one row for each report. The arguments are those of ``trials_frame``."""
    frame: pd.DataFrame = read_reports(find_storage(storage), sweep_id).to_pandas()
    return frame


def sweeps_frame(storage: str, sweep_id: str | None = None) -> pd.DataFrame:
    """Return a frame with one row for each start and end of a session. The arguments are those of ``trials_frame``."""
    frame: pd.DataFrame = read_sweeps(find_storage(storage), sweep_id).to_pandas()
    return frame
