"""Run a sweep: ``python run_sweep.py PRESET_OR_FILE [--storage URI] [--set FIELD=VALUE ...]``.

This file stands alone: Ray copies it to a cluster's head node and runs it there, where the package must be installed.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from orchestrator.cli import run_sweep_main
    except ModuleNotFoundError as error:
        sys.exit(
            f"error: {error.name} is missing for {sys.executable}. In a checkout, `make sweep` sets up everything in .venv; "
            "on a cluster, install the package on every node (pip install zskt)."
        )
    run_sweep_main()
