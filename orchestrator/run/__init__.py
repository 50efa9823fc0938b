"""One session: from a checked sweep to ended trials."""

from __future__ import annotations
