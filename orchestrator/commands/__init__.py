"""What a command does beyond one call: confirm, rerun, reproduce, evaluate, doctor."""

from __future__ import annotations
