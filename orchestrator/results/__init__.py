"""The result store: rows in Parquet under ``<storage>/results/v1/``, readable by anything that reads Parquet."""

from __future__ import annotations

from orchestrator.results.frames import reports_frame, sweeps_frame, trials_frame
from orchestrator.results.reader import Row, config_of, read, read_reports, read_sweeps, read_trials
from orchestrator.results.writer import ResultWriter

__all__ = [
    "ResultWriter",
    "Row",
    "config_of",
    "read",
    "read_reports",
    "read_sweeps",
    "read_trials",
    "reports_frame",
    "sweeps_frame",
    "trials_frame",
]
