"""Which trial comes next: study, samplers, early stopping, recovery. Knows Optuna, not Ray."""

from __future__ import annotations
