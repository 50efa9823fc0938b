"""Storage of a sweep: addresses, the layout of its objects, its lock. Only the module ``bucket`` imports boto3."""

from __future__ import annotations

from orchestrator.storage.address import find_object, find_storage, local_path, shown
from orchestrator.storage.preflight import open_storage
from orchestrator.storage.sweep_store import SweepStore

__all__ = [
    "SweepStore",
    "find_object",
    "find_storage",
    "local_path",
    "open_storage",
    "shown",
]
