"""What ``zskt doctor`` finds out about each node of a cluster, from a process there."""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import zskt_start
from cluster.credentials import no_credentials
from cluster.nodes import clock, run_on_node
from orchestrator.config.blocks import StorageConfig
from orchestrator.errors import ZsktError
from orchestrator.storage import open_storage
from trainables.storage.addresses import expand_home

ANSWER_SECONDS = 120.0
"""How long a node may take to answer; importing torch on a cold disk takes a while."""


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """One node of the cluster, as seen from a process there."""

    name: str
    is_head: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of Python, Ray, torch, CUDA (``none`` in a build for CPUs) and this package, with a hash of its code."""

    gpus: float = 0.0
    """GPUs that Ray counts."""

    gpus_seen: int = 0
    """GPUs that torch can use."""

    bfloat16: str | None = None
    """By what it computes in bfloat16, on its GPU where it has one; none where it has nothing for that."""

    clock_ahead: float = 0.0
    """Seconds by which its clock is ahead of the asking process's."""

    storage_error: str | None = None
    """Why it cannot use the storage; none if it can, or no storage was named."""

    failure: str | None = None
    """Why it could not be asked at all."""


def local_facts(
    storage: StorageConfig | None, marker: str | None, borrow_credentials: Callable[[], None] = no_credentials
) -> dict[str, Any]:
    """What a process finds out about the node that it runs on, by fields of ``NodeFacts``.

    Args:
        storage: To be tried; none: nothing is.
        marker: Object that the asking process has put there; none: it was not checked whether all see one storage.
        borrow_credentials: See ``cluster.session.RaySession``.
    """
    borrow_credentials()
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides the GPUs from a task that takes none
    # Both take seconds, and a driver has no need of them for this.
    import ray
    import torch

    from orchestrator.version import code_hash, package_version
    from trainables.compute.precision import bfloat16_instructions

    found: dict[str, Any] = {
        "versions": {
            "Python": platform.python_version(),
            "Ray": ray.__version__,
            "torch": version("torch").partition("+")[0],  # what follows is the build, which CUDA tells
            "CUDA": torch.version.cuda or "none",
            "zskt": f"{package_version()}, code {code_hash()}",
        },
        "gpus_seen": torch.cuda.device_count(),
        "bfloat16": bfloat16_instructions(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
    }
    return found | ({} if storage is None else {"storage_error": _storage_error(storage, marker)})


def _storage_error(storage: StorageConfig, marker: str | None) -> str | None:
    try:
        store = open_storage(storage)
        if marker is not None and not store.exists(marker):
            return "it is another folder there; name one that all machines share, s3://BUCKET/PREFIX for example"
    except (ZsktError, OSError) as error:
        return str(error)
    return None


def leave_marker(storage: StorageConfig) -> str | None:
    """An object that tells this storage from a folder of the same name elsewhere; none if it cannot be written."""
    key = f"zskt-doctor-{uuid.uuid4().hex}"
    try:
        open_storage(storage).write(key, b"")
    except (ZsktError, OSError):
        return None  # the nodes will say why
    return key


def gather(
    storage: StorageConfig | None, marker: str | None = None, borrow_credentials: Callable[[], None] = no_credentials
) -> list[NodeFacts]:
    """Ask every node of the cluster that Ray is connected to, all at once.

    Args:
        storage: To be tried from each; none: nothing is.
        marker: Object on it that this process has written.
        borrow_credentials: See ``cluster.session.RaySession``.
    """
    # Ray reads its settings when it is imported, and ray_session makes them.
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if storage is not None and not storage.address.scheme:  # processes elsewhere have other working folders
        storage = storage.model_copy(update={"uri": str(expand_home(storage.uri).resolve())})
    asked = [run_on_node(node["NodeID"], local_facts, storage, marker, borrow_credentials) for node in nodes]
    ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS)
    facts = []
    for node, answer in zip(nodes, asked, strict=True):
        known: dict[str, Any] = {
            "name": node["NodeManagerHostname"],
            "is_head": "node:__internal_head__" in node["Resources"],
            "gpus": node["Resources"].get("GPU", 0.0),
        }
        try:
            known |= ray.get(answer, timeout=0)
            before = time.time()
            there = ray.get(run_on_node(node["NodeID"], clock), timeout=ANSWER_SECONDS)
            known["clock_ahead"] = there - (before + time.time()) / 2
        except (ray.exceptions.RayError, TimeoutError) as error:
            told = str(error).strip().splitlines()[-1] or type(error).__name__
            known["failure"] = _hidden_package(node["NodeID"]) or told
        facts.append(NodeFacts(**known))
    return facts


def _hidden_package(node_id: str) -> str:
    """Return what hides a package of ours on a node that cannot run our tasks; empty if nothing does."""
    # Ray reads its settings when it is imported, and ray_session makes them.
    import ray

    ray.cloudpickle.register_pickle_by_value(zskt_start)  # by its name it might not be found there either
    try:
        answer = run_on_node(node_id, zskt_start.clashes)
        return next(iter(ray.get(answer, timeout=ANSWER_SECONDS)), "")
    except (ray.exceptions.RayError, TimeoutError):
        return ""
    finally:
        ray.cloudpickle.unregister_pickle_by_value(zskt_start)
