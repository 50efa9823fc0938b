"""Where the sweep lies that an earlier version wrote."""

from __future__ import annotations

from pathlib import Path

KEPT = Path(__file__).with_name("kept_sweep")
SWEEP_ID = "kept-search-691efdfe"
