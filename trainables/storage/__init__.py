"""Objects, checkpoints and students on any filesystem."""

from __future__ import annotations
