"""Commands about files: storage, data sets."""

from __future__ import annotations
