"""One sweep: what to run, the search, the drive through Ray, and what is kept of it."""

from __future__ import annotations
