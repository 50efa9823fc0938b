"""The sections of a sweep's chapter in the report."""

from __future__ import annotations
