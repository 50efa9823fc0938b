"""Analysis of a sweep's results: leaderboard, cases, confirmation and statistics."""

from __future__ import annotations
