"""The two loops, their losses and what they report."""

from __future__ import annotations
