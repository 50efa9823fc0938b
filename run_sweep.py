"""Run a sweep: ``python run_sweep.py PRESET_OR_FILE [--storage URI] [--set FIELD=VALUE ...]``.

This file stands alone: Ray copies it to a cluster's head node and runs it there, where the package must be installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

IN_A_CHECKOUT = "Run `make sweep`, which sets up everything in .venv, or `. .venv/bin/activate` before this command."
ALONE = (
    "Ray has copied only this file; the package must be installed on every node. Take file_mounts and setup_commands from "
    "zskt's cluster.yaml into your cluster's file, run `ray up` again, and then this command."
)

if __name__ == "__main__":
    try:
        from zskt_start import command_line

        run_sweep_main = command_line().run_sweep_main
    except ModuleNotFoundError as error:
        remedy = IN_A_CHECKOUT if Path(__file__).with_name("orchestrator").is_dir() else ALONE
        sys.exit(f"error: {error.name} is missing for {sys.executable}. {remedy}")
    run_sweep_main()
