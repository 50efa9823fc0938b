"""Images with their splits."""

from __future__ import annotations
