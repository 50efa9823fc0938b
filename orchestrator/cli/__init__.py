"""The command line: ``zskt``, and what ``run_sweep.py`` runs. A module for each command or pair."""

from orchestrator.cli.app import app, main, run_sweep_main

__all__ = ["app", "main", "run_sweep_main"]
