"""The command line: the program ``zskt`` and the entry point of ``run_sweep.py``. Each command, or pair, has a module."""

from orchestrator.cli.app import app, main, run_sweep_main

__all__ = ["app", "main", "run_sweep_main"]
