"""The result store: result rows in Parquet under ``<storage>/results/v1/``, readable by any Parquet library."""

from __future__ import annotations

from orchestrator.results.frames import reports_frame, sweeps_frame, trials_frame
from orchestrator.results.reader import (
    ResultReader,
    Source,
    read,
    read_reports,
    read_sweeps,
    read_trials,
    reader_of,
    rows_of,
)
from orchestrator.results.records import (
    KeptFile,
    Row,
    SessionEvent,
    SessionRecord,
    TrialRecord,
    TrialState,
    kept_config,
)
from orchestrator.results.sweep_results import SweepResults, SweepSource, results_of
from orchestrator.results.writer import ResultWriter

__all__ = [
    "KeptFile",
    "ResultReader",
    "ResultWriter",
    "Row",
    "SessionEvent",
    "SessionRecord",
    "Source",
    "SweepResults",
    "SweepSource",
    "TrialRecord",
    "TrialState",
    "kept_config",
    "read",
    "read_reports",
    "read_sweeps",
    "read_trials",
    "reader_of",
    "reports_frame",
    "results_of",
    "rows_of",
    "sweeps_frame",
    "trials_frame",
]
