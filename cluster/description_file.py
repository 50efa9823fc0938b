"""A file that describes a cluster: what ``ray up`` takes, or KubeRay's resources, as ``kubectl apply`` takes them.

Only what is asked of a description is looked at here: which machines there may be, and what they are. Whether Ray can
start them, Ray says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

_SPEC_OF_KIND = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}
"""Where the cluster stands in the ``spec`` of each of KubeRay's kinds."""

_EXPECTED = (
    "expected what ray up takes (available_node_types: {NAME: {resources: ..., node_config: ...}}, or provider: {type: "
    "local} with head_ip and worker_ips), or a RayCluster, RayJob or RayService of KubeRay"
)

_MARKET = "RAY_NODE_MARKET_TYPE"
"""Variable of a pod's container from which Ray labels the node as a spot machine."""

_MARKET_LABEL = "ray.io/market-type"


class _Part(BaseModel):
    """What is looked at of a mapping; Ray's other fields are Ray's."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _NodeConfig(_Part):
    InstanceType: str | None = None
    InstanceMarketOptions: dict[str, Any] = Field(default_factory=dict)
    machine_type: str | None = Field(default=None, alias="machineType")
    scheduling: list[dict[str, Any]] | dict[str, Any] = Field(default_factory=dict)


class _NodeType(_Part):
    resources: dict[str, float] = Field(default_factory=dict)
    node_config: _NodeConfig = _NodeConfig()
    labels: dict[str, str] = Field(default_factory=dict)
    max_workers: Annotated[int, Field(ge=0)] = 0


class _Provider(_Part):
    type: str
    region: str | None = None
    head_ip: str | None = None
    worker_ips: list[str] = Field(default_factory=list)


class _Description(_Part):
    provider: _Provider
    max_workers: Annotated[int, Field(ge=0)] = 2
    available_node_types: dict[str, _NodeType] = Field(default_factory=dict)


def read_description_file(path: Path) -> dict[str, Any]:
    """The description in a file, in the words of ``ray up``.

    Raises:
        OSError, yaml.YAMLError: the file cannot be read.
        ValueError: it describes no cluster, several, or one that is not understood; a line on what is wrong and what was
            expected.
    """
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8; {_EXPECTED}") from error
    if not documents:
        raise ValueError(f"the file is empty; {_EXPECTED}")
    strange = next((document for document in documents if not isinstance(document, dict)), None)
    if strange is not None:
        raise ValueError(f"found {type(strange).__name__} {str(strange)[:40]!r}; {_EXPECTED}")
    if any("kind" in document for document in documents):
        return _of_manifests(documents)
    if len(documents) > 1:
        raise ValueError(f"found {len(documents)} documents, which only KubeRay's files may have; {_EXPECTED}")
    return _checked(documents[0])


def describe_raycluster(resource: Mapping[str, Any]) -> dict[str, Any]:
    """A RayCluster in the words of ``ray up``, whether or not an autoscaler starts its pods.

    Raises:
        ValueError, LookupError: Ray makes nothing of it.
    """
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    description: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(dict(resource))
    for group in resource["spec"]["workerGroupSpecs"]:
        for variable in group["template"]["spec"]["containers"][0].get("env", ()):
            if variable["name"] == _MARKET:
                labels = description["available_node_types"][group["groupName"]]["labels"]
                labels[_MARKET_LABEL] = variable.get("value", "")
    return description


def _of_manifests(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the one cluster among Kubernetes' resources."""
    resources = [item for document in documents for item in _items(document)]
    clusters = [resource for resource in resources if resource.get("kind") in _SPEC_OF_KIND]
    if len(clusters) != 1:
        kinds = ", ".join(str(resource.get("kind")) for resource in resources)
        count = "no cluster" if not clusters else f"{len(clusters)} clusters, where one is expected,"
        raise ValueError(f"found {count} among the resources {kinds}; {_EXPECTED}")
    kind = clusters[0]["kind"]
    where = ".".join(["spec", *_SPEC_OF_KIND[kind]])
    spec: Any = clusters[0]
    for name in where.split("."):
        spec = spec.get(name) if isinstance(spec, dict) else None
    try:
        # Groups of a fixed size need not say how far they may grow.
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


def _items(document: dict[str, Any]) -> list[dict[str, Any]]:
    """A resource, or those of a list, as ``kubectl get`` writes it."""
    items = document.get("items") if document.get("kind") == "List" else [document]
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _checked(description: dict[str, Any]) -> dict[str, Any]:
    """A description for ``ray up``, as it is, once it has been understood."""
    old = [name for name in ("head_node", "worker_nodes") if description.get(name)]
    if old and "available_node_types" not in description:
        raise ValueError(f"{' and '.join(old)} are of Ray's old shape, which is not read; {_EXPECTED}")
    if "provider" not in description:
        raise ValueError(f"it names no machines; {_EXPECTED}")
    try:
        known = _Description.model_validate(description)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}={str(first['input'])[:40]!r}: {first['msg']}; {_EXPECTED}") from error
    if known.provider.type == "local":
        if not known.provider.head_ip:
            raise ValueError(
                "provider: {type: local} without head_ip; expected head_ip and worker_ips, by name or number"
            )
    elif known.provider.type == "aws" and not known.provider.region:
        raise ValueError("provider: {type: aws} without region; expected one, such as us-west-2")
    elif not known.available_node_types:
        raise ValueError(f"it names no machines; {_EXPECTED}")
    return description
