"""What trials have cost, will cost, and may cost."""

from __future__ import annotations
