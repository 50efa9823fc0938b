"""What a trial's process and its driver have from the machine that they run on."""

from __future__ import annotations
