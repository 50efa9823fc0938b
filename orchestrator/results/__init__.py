"""The result store: rows in Parquet under ``<storage>/results/v1/``, readable by anything that reads Parquet."""

from __future__ import annotations

from orchestrator.results.frames import reports_frame, sweeps_frame, trials_frame
from orchestrator.results.reader import (
    ResultReader,
    Row,
    Source,
    config_of,
    kept_config,
    read,
    read_reports,
    read_sweeps,
    read_trials,
    reader_of,
)
from orchestrator.results.writer import ResultWriter

__all__ = [
    "ResultReader",
    "ResultWriter",
    "Row",
    "Source",
    "config_of",
    "kept_config",
    "read",
    "read_reports",
    "read_sweeps",
    "read_trials",
    "reader_of",
    "reports_frame",
    "sweeps_frame",
    "trials_frame",
]
