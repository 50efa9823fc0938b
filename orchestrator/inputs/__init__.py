"""Inputs that the trials of a sweep share: images, teachers and probe sets."""

from __future__ import annotations
