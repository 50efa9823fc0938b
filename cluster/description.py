"""What a cluster's autoscaler has been told: which machines it may start, read on the head node."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

BOOTSTRAP_CONFIG = Path("~/ray_bootstrap_config.yaml")
"""Where ``ray up`` leaves the cluster's description on its head node."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_MARKET = "RAY_NODE_MARKET_TYPE"
"""Variable of a pod's container from which Ray labels the node as a spot machine."""

_MARKET_LABEL = "ray.io/market-type"

logger = logging.getLogger("zskt.cluster")
"""Says why a description cannot be read."""


def read_description(path: Path | None = None) -> dict[str, Any]:
    """A cluster's description as ``ray up`` takes it, KubeRay's included; empty where nothing is started for us.

    Args:
        path: A file with one; none: that of the cluster whose head this is.

    Raises:
        OSError, yaml.YAMLError: the file cannot be read.
    """
    file = (path or BOOTSTRAP_CONFIG).expanduser()
    if file.is_file():
        description: dict[str, Any] = yaml.safe_load(file.read_text())
        return description
    return _of_kuberay() if path is None else {}


def _of_kuberay() -> dict[str, Any]:
    """From Kubernetes itself, as Ray's autoscaler in the pod beside reads it; KubeRay gives the head the right to."""
    cluster = os.environ.get("RAY_CLUSTER_NAME")  # KubeRay sets it in every pod
    if not cluster or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return {}
    try:
        return describe_raycluster(_fetch_raycluster(cluster))
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


def describe_raycluster(resource: Mapping[str, Any]) -> dict[str, Any]:
    """A RayCluster in the words of ``ray up``; empty where it has no autoscaler, as nothing comes that is not there.

    Raises:
        ValueError, KeyError: Ray makes nothing of it.
    """
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    if not resource["spec"].get("enableInTreeAutoscaling"):
        return {}
    description: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(dict(resource))
    for group in resource["spec"]["workerGroupSpecs"]:
        variables = group["template"]["spec"]["containers"][0].get("env", ())
        for variable in variables:
            if variable["name"] == _MARKET:
                description["available_node_types"][group["groupName"]]["labels"][_MARKET_LABEL] = variable.get(
                    "value", ""
                )
    return description
