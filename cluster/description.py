"""What a cluster's autoscaler has been told: which machines it may start, read on the head node."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import yaml

from cluster.description_file import describe_raycluster, read_description_file

BOOTSTRAP_CONFIG = Path("~/ray_bootstrap_config.yaml")
"""Where ``ray up`` leaves the cluster's description on its head node."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

logger = logging.getLogger("zskt.cluster")
"""Says why a description cannot be read."""


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
    return _of_kuberay()


def _of_kuberay() -> dict[str, Any]:
    """From Kubernetes itself, as Ray's autoscaler in the pod beside reads it; KubeRay gives the head the right to."""
    cluster = os.environ.get("RAY_CLUSTER_NAME")  # KubeRay sets it in every pod
    if not cluster or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return {}
    try:
        resource = _fetch_raycluster(cluster)
        # Without an autoscaler nothing comes that is not there.
        return describe_raycluster(resource) if resource["spec"].get("enableInTreeAutoscaling") else {}
    except (OSError, ValueError, LookupError) as error:
        logger.warning(
            "cannot read which pods the autoscaler may start (%s): only those that are there now are counted. The head's "
            "service account needs the right to get rayclusters, which KubeRay gives it with enableInTreeAutoscaling",
            error,
        )
        return {}


def _fetch_raycluster(name: str) -> dict[str, Any]:
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient  # no public way

    namespace = os.environ.get("RAY_CLUSTER_NAMESPACE") or _NAMESPACE_FILE.read_text().strip()
    found: dict[str, Any] = KubernetesHttpApiClient(namespace).get(f"rayclusters/{name}")
    return found
