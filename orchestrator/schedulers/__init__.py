"""Which trials are stopped early: one module for each kind of scheduler, and a registry. Free of Ray and Optuna."""

from __future__ import annotations
