"""Probe sets: images made from a teacher alone, once for each teacher, on which students are scored without data; and
whether a teacher tells images apart at all."""

from __future__ import annotations

from trainables.probe.discernment import NOISE_IMAGES, only_class_in_noise
from trainables.probe.making import make_probe
from trainables.probe.registry import ProbeRegistry

__all__ = ["NOISE_IMAGES", "ProbeRegistry", "make_probe", "only_class_in_noise"]
