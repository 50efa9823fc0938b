"""What a cluster's autoscaler has been told: which machines it may start, read on the head node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cluster.description_file import read_description_file
from cluster.providers.registry import running_description

BOOTSTRAP_CONFIG = Path("~/ray_bootstrap_config.yaml")
"""Where ``ray up`` leaves the cluster's description on its head node."""


def read_description(path: Path | None = None) -> dict[str, Any]:
    """A cluster's description as ``ray up`` takes it, KubeRay's included; empty where nothing is started for us.

    Args:
        path: A file of the user's, see ``cluster.description_file``; none: that of the cluster whose head this is.

    Raises:
        OSError, yaml.YAMLError: the file cannot be read.
        ValueError: it describes no cluster that could be started; the message says what was expected, but not where.
    """
    if path is not None:
        return read_description_file(path)
    head = BOOTSTRAP_CONFIG.expanduser()
    if head.is_file():
        description: dict[str, Any] = yaml.safe_load(head.read_text())
        return description
    return running_description()
