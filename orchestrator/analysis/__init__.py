"""What a sweep has found: leaderboard, cases, confirmation, statistics."""

from __future__ import annotations
