"""Real images: reading, converting and splitting data sets."""

from __future__ import annotations
