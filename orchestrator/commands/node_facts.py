"""Facts about each node of a cluster for ``zskt doctor``, gathered by a process on the node."""

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
"""Time-out for a node's answer, which may include importing torch from a cold disk."""


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """One node of the cluster, as seen from a process there."""

    name: str
    is_head: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of Python, Ray, torch, CUDA (``none`` in a CPU build) and this package, the last with a hash of its code."""

    gpus: float = 0.0
    """Number of GPUs that Ray counts on the node."""

    gpus_seen: int = 0
    """Number of GPUs that torch can use on the node."""

    bfloat16: str | None = None
    """Hardware instructions for bfloat16, of the GPU if the node has one, else of the CPU. None if there are none."""

    clock_ahead: float = 0.0
    """Seconds by which the node's clock is ahead of the clock of the process that asks."""

    storage_error: str | None = None
    """Why the node cannot use the storage. None if it can, or if no storage was named."""

    failure: str | None = None
    """Why the node did not answer. None if it did."""


def local_facts(
    storage: StorageConfig | None, marker: str | None, borrow_credentials: Callable[[], None] = no_credentials
) -> dict[str, Any]:
    """Return facts about the node that this process runs on, as fields of ``NodeFacts``.

    Args:
        storage: Storage to test. None means that none is tested.
        marker: Key of an object that the asking process wrote to the storage. None means that the node does not check
            whether it sees the same storage.
        borrow_credentials: See ``cluster.session.RaySession``.
    """
    borrow_credentials()
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides the GPUs from a task that takes none
    # Imported here: both imports take seconds, and the driver needs neither for this module.
    import ray
    import torch

    from orchestrator.version import code_hash, package_version
    from trainables.compute.precision import bfloat16_instructions

    found: dict[str, Any] = {
        "versions": {
            "Python": platform.python_version(),
            "Ray": ray.__version__,
            "torch": version("torch").partition("+")[0],  # the build after the "+" is reported as CUDA
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
            return "there it is another folder; name a storage that all machines share, for example s3://BUCKET/PREFIX"
    except (ZsktError, OSError) as error:
        return str(error)
    return None


def leave_marker(storage: StorageConfig) -> str | None:
    """Write an object that tells this storage from a folder of the same name elsewhere, and return its key.

    Returns:
        The key; None if the object cannot be written.
    """
    key = f"zskt-doctor-{uuid.uuid4().hex}"
    try:
        open_storage(storage).write(key, b"")
    except (ZsktError, OSError):
        return None  # the nodes report the reason when they try the storage
    return key


def gather(
    storage: StorageConfig | None, marker: str | None = None, borrow_credentials: Callable[[], None] = no_credentials
) -> list[NodeFacts]:
    """Gather the facts about all nodes of the connected Ray cluster, asking them concurrently.

    Args:
        storage: Storage to test from each node. None means that none is tested.
        marker: Key of an object on the storage that this process wrote.
        borrow_credentials: See ``cluster.session.RaySession``.
    """
    # Imported here: Ray reads its settings on import, and ray_session makes these settings.
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if storage is not None and not storage.address.scheme:  # processes on other nodes have other working folders
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
    """Return what hides one of this program's packages on a node that cannot run its tasks; empty if nothing does."""
    # Imported here: Ray reads its settings on import, and ray_session makes these settings.
    import ray

    ray.cloudpickle.register_pickle_by_value(zskt_start)  # the node might not find the module by its name
    try:
        answer = run_on_node(node_id, zskt_start.clashes)
        return next(iter(ray.get(answer, timeout=ANSWER_SECONDS)), "")
    except (ray.exceptions.RayError, TimeoutError):
        return ""
    finally:
        ray.cloudpickle.unregister_pickle_by_value(zskt_start)
