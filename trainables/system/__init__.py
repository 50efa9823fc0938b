"""Services of the machine for drivers and trials: the clock, the user's files, and the heartbeat."""

from __future__ import annotations
