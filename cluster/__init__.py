"""Where a sweep runs: a Ray cluster that is there, or one started here for it."""

from __future__ import annotations
