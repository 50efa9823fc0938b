"""Training loops for data-free and supervised trials, with their losses and reports."""

from __future__ import annotations
