"""The report on a sweep: one HTML page.

The names of this package are imported on first use, so that importing one of its modules does not also load plotly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.report.build import make_report, report_figures, write_report

__all__ = ["make_report", "report_figures", "write_report"]


if not TYPE_CHECKING:  # otherwise type checkers would accept any misspelt name

    def __getattr__(name: str) -> Any:
        if name in __all__:
            return getattr(import_module("orchestrator.report.build"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
