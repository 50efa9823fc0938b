"""Measurements of a trial's time and memory, with dummy teachers and images."""

from __future__ import annotations
