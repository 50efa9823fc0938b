"""Where a sweep lies: addresses, the layout below them, the lock."""

from __future__ import annotations

from orchestrator.storage.address import create_bucket, find_object, find_storage, local_path, open_storage, shown

__all__ = [
    "create_bucket",
    "find_object",
    "find_storage",
    "local_path",
    "open_storage",
    "shown",
]
