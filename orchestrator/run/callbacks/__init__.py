"""What is done whenever a trial starts, reports or ends."""

from __future__ import annotations
