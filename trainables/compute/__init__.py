"""Devices, precision, compilation, CUDA graphs, and counts of operations."""

from __future__ import annotations
