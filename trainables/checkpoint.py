"""Keep ``trainables.checkpoint.parse`` importable, as docs/results.md once showed it."""

from __future__ import annotations

from trainables.storage.checkpoint import CheckpointStore, parse

__all__ = ["CheckpointStore", "parse"]
