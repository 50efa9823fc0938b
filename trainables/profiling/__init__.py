"""What a trial takes, measured on dummies."""

from __future__ import annotations
