"""The command line: ``zskt``, and what ``run_sweep.py`` runs. A module for each group of commands."""

from orchestrator.cli.app import app, main, run_sweep_main

__all__ = ["app", "main", "run_sweep_main"]
