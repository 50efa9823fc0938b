"""What a person sees of a sweep, live or from its storage."""

from __future__ import annotations
