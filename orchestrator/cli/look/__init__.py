"""Commands that show sweeps, results and networks, and run no sweep."""

from __future__ import annotations
