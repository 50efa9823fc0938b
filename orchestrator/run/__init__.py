"""Runs a session of a sweep: checks, backends, callbacks that follow the trials, pauses during outages."""

from __future__ import annotations
