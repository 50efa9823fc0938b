"""One HTML page about a sweep.

Names are imported on first use: a module of this folder then costs what it needs itself, and not plotly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.report.build import make_report, report_figures, write_report

__all__ = ["make_report", "report_figures", "write_report"]


if not TYPE_CHECKING:  # or no misspelt name would be found

    def __getattr__(name: str) -> Any:
        if name in __all__:
            return getattr(import_module("orchestrator.report.build"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
