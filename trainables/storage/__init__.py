"""Object store, checkpoints and students on local disks and in buckets."""

from __future__ import annotations
