"""Schedulers, which stop trials early or train a population: a module per kind, and a registry. Imports no Ray or Optuna."""

from __future__ import annotations
