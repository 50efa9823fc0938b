"""Commands that show what there is, and change nothing."""

from __future__ import annotations
