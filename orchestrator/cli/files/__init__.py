"""Commands about files: data sets, and what a sweep has left."""

from __future__ import annotations
