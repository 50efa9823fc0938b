"""The orchestrator of a sweep: its config, its search, its execution on Ray, and its results, reports and commands."""

from __future__ import annotations
