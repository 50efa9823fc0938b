"""Probe sets: images made from a teacher alone, once for each teacher, on which students are scored without data."""

from __future__ import annotations

from trainables.probe.making import make_probe
from trainables.probe.registry import ProbeRegistry

__all__ = ["ProbeRegistry", "make_probe"]
