"""Devices, precision, compilation, CUDA graphs, operations counted."""

from __future__ import annotations
