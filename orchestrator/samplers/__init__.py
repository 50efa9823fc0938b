"""Samplers, which propose the trials' settings: a module per kind, and a registry. Only building one imports Optuna."""

from __future__ import annotations
