"""Where a sweep lies: addresses, the layout below them, the lock. Costs no boto3: see ``bucket``."""

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
