"""The sections of a sweep's part of the page."""

from __future__ import annotations
