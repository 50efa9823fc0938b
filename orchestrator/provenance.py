"""What a number came from: versions and machine."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.config import SweepConfig
from trainables.datasets import OWN_DATASETS
from trainables.network_names import OWN_NETWORKS
from trainables.plug_ins import installed

_LIBRARIES = ("ray", "optuna", "torch", "torchvision", "pyarrow", "numpy")


def code_version() -> str:
    """The package's version, and the commit if it runs from a checkout; ``+changed`` if that has been edited since."""
    try:
        ours = version("zskt")
    except PackageNotFoundError:
        ours = "unknown"
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():
        return ours
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty=+changed", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ours
    return f"{ours}+g{commit.stdout.strip()}"


def session_row(
    sweep: SweepConfig, searched: list[str], *, number: int, event: str, cpus: float, gpus: float
) -> dict[str, Any]:
    """The row of the ``sweeps`` table for one event of a session."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
    entries = [entry for group in (OWN_NETWORKS, OWN_DATASETS) for entry in installed(group).values()]
    versions |= {entry.dist.name: entry.dist.version for entry in entries if entry.dist}
    return {
        "session": number,
        "event": event,
        "at": datetime.now(UTC),
        "config_json": sweep.model_dump_json(),
        "objective": sweep.objective,
        "searched_json": json.dumps(searched),
        "code_version": code_version(),
        "versions_json": json.dumps(versions),
        "hostname": platform.node(),
        "cpus": cpus,
        "gpus": gpus,
    }
