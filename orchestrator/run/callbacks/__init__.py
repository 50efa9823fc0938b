"""Callbacks that are called when a trial starts, reports or ends."""

from __future__ import annotations
