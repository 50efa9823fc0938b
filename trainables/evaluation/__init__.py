"""Measurements on a trained network. None of them leaves a trace in it."""

from __future__ import annotations

from trainables.evaluation.accuracy import accuracy

__all__ = ["accuracy"]
