"""What the trials share: images, teachers, probe sets."""

from __future__ import annotations
