"""What other installed packages bring: networks and data sets, found by their entry points."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")  # becomes a folder of the storage


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name."""
    return {entry.name: entry for entry in entry_points(group=group) if _NAME.fullmatch(entry.name)}
