"""Teachers, trained here or published, and the probe sets made from teachers."""

from __future__ import annotations
