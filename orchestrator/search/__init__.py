"""The search: study, trial queue, distinct settings, warm start, recovery of lost data. Imports Optuna but not Ray."""

from __future__ import annotations
