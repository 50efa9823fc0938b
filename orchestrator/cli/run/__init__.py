"""Commands that run trials."""

from __future__ import annotations
