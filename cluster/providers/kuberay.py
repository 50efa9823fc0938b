"""Kubernetes, on which KubeRay's operator starts pods for Ray's autoscaler."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.providers.base import EXPECTED, MARKET_LABEL, Provider

_SPEC_OF_KIND = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}
"""Keys that lead from the ``spec`` of each of KubeRay's resource kinds to the specification of the cluster."""

_MARKET = "RAY_NODE_MARKET_TYPE"
"""Environment variable of a pod's container from which Ray labels the node as a spot instance."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

logger = logging.getLogger("zskt.cluster")
"""Logger that reports why a description cannot be read."""


class KubeRay(Provider):
    """Kubernetes: machines are pods. A machine type is a group of pods; an environment variable marks spot instances."""

    name = "kuberay"
    title = "Kubernetes"

    def running_description(self) -> dict[str, Any]:
        """Ask Kubernetes for the description of this pod's cluster, as Ray's autoscaler in the same pod does.

        KubeRay gives the head's service account the right to read the description.
        """
        cluster = os.environ.get("RAY_CLUSTER_NAME")  # KubeRay sets the variable in every pod
        if not cluster or "KUBERNETES_SERVICE_HOST" not in os.environ:
            return {}
        try:
            resource = _fetch_raycluster(cluster)
            # Without an autoscaler no further pods are started.
            return describe_raycluster(resource) if resource["spec"].get("enableInTreeAutoscaling") else {}
        except (OSError, ValueError, LookupError) as error:
            logger.warning(
                "cannot read which pods the autoscaler may start (%s): only the pods that run now are counted. The head's "
                "service account needs the right to get rayclusters; KubeRay gives that right with enableInTreeAutoscaling",
                error,
            )
            return {}

    def read_manifests(self, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        return _of_manifests(documents) if any("kind" in document for document in documents) else None


def _fetch_raycluster(name: str) -> dict[str, Any]:
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient  # no public API

    namespace = os.environ.get("RAY_CLUSTER_NAMESPACE") or _NAMESPACE_FILE.read_text().strip()
    found: dict[str, Any] = KubernetesHttpApiClient(namespace).get(f"rayclusters/{name}")
    return found


def describe_raycluster(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a RayCluster into a description in the format of ``ray up``, whether or not an autoscaler starts its pods.

    Raises:
        ValueError, LookupError: Ray does not understand the resource.
    """
    # Imported here because Ray takes seconds to load, and only this function needs it.
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    description: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(dict(resource))
    for group in resource["spec"]["workerGroupSpecs"]:
        for variable in group["template"]["spec"]["containers"][0].get("env", ()):
            if variable["name"] == _MARKET:
                labels = description["available_node_types"][group["groupName"]]["labels"]
                labels[MARKET_LABEL] = variable.get("value", "")
    return description


def _of_manifests(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Convert the one cluster among Kubernetes' resources into a description in the format of ``ray up``.

    Raises:
        ValueError: there is no cluster or more than one, or the cluster is not understood.
    """
    resources = [item for document in documents for item in _items(document)]
    clusters = [resource for resource in resources if resource.get("kind") in _SPEC_OF_KIND]
    if len(clusters) != 1:
        kinds = ", ".join(str(resource.get("kind")) for resource in resources)
        count = "no cluster" if not clusters else f"{len(clusters)} clusters, where one is expected,"
        raise ValueError(f"found {count} among the resources {kinds}; {EXPECTED}")
    kind = clusters[0]["kind"]
    where = ".".join(["spec", *_SPEC_OF_KIND[kind]])
    spec: Any = clusters[0]
    for name in where.split("."):
        spec = spec.get(name) if isinstance(spec, dict) else None
    try:
        # Groups of a fixed size may leave out their minimum and maximum size.
        groups = [
            {"minReplicas": 0, "maxReplicas": group.get("replicas", 1), **group} for group in spec["workerGroupSpecs"]
        ]
        metadata = {"name": "cluster", "namespace": "default"}
        return describe_raycluster({"metadata": metadata, "spec": {**spec, "workerGroupSpecs": groups}})
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise ValueError(
            f"{where} of the {kind} is not understood ({what}); expected headGroupSpec and workerGroupSpecs, as in "
            "cluster/kuberay/raycluster.yaml"
        ) from error


def _items(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the resources of a document: the document itself, or the items of a list as ``kubectl get`` writes it."""
    items = document.get("items") if document.get("kind") == "List" else [document]
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
