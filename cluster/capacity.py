"""The capacity of a cluster: now, and after its autoscaler has started as many machines as it may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.providers.registry import provider_of


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """A number of equal machines (``count``), with the CPU cores and GPUs of each."""

    count: int
    cpus: float
    gpus: float

    def trials_each(self, *, cpus: float, gpus: float) -> int:
        """Return how many trials with these CPU cores and GPUs fit on one machine.

        A trial runs on one machine, and a trial that takes a fraction of a GPU runs on one GPU.
        """
        by_cpu = int(self.cpus / cpus)
        if gpus <= 0:
            return by_cpu
        by_gpu = int(self.gpus) * int(1 / gpus) if gpus < 1 else int(self.gpus / gpus)
        return min(by_cpu, by_gpu)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The machines of a cluster: the fixed ones, and those that an autoscaler may add."""

    fixed: Sequence[NodeType]
    added: Sequence[NodeType] = ()
    max_added: int = 0
    """Maximum number of added machines of all types together."""

    @property
    def max_nodes(self) -> int:
        """Maximum number of machines of the cluster."""
        return sum(node.count for node in self.fixed) + min(self.max_added, sum(node.count for node in self.added))

    @property
    def largest_gpus(self) -> float:
        """GPUs of the machine with the most GPUs; 0 without machines."""
        return max((node.gpus for node in (*self.fixed, *self.added)), default=0.0)

    @property
    def largest_cpus(self) -> float:
        """CPU cores of the machine with the most cores; 0 without machines."""
        return max((node.cpus for node in (*self.fixed, *self.added)), default=0.0)

    def trials_on_a_gpu(self, *, cpus: float) -> int:
        """Return how many trials with ``cpus`` cores each can share a GPU on the machine with the fewest cores for each GPU.

        0 if no machine has a GPU.
        """
        with_gpus = [node for node in (*self.fixed, *self.added) if node.count and node.gpus >= 1]
        return min((int(node.cpus / (cpus * node.gpus)) for node in with_gpus), default=0)

    def trials(self, *, cpus: float, gpus: float) -> int:
        """Return how many trials of a size can run at once, when the machines that hold most trials are added first.

        Raises:
            ValueError: no machine can hold the trial; the message names the missing resource and a remedy.
        """
        held = sum(node.count * node.trials_each(cpus=cpus, gpus=gpus) for node in self.fixed)
        left = self.max_added
        for each, count in sorted(((n.trials_each(cpus=cpus, gpus=gpus), n.count) for n in self.added), reverse=True):
            held += each * min(count, left)
            left -= min(count, left)
        if held:
            return held
        if gpus > self.largest_gpus:
            raise ValueError(
                f"a trial asks for {gpus:g} GPU and no machine of the cluster has more than {self.largest_gpus:g}: run with "
                "--gpus 0 (slow), or on a cluster with GPUs"
            )
        raise ValueError(
            f"a trial asks for {cpus:g} CPU cores and no machine of the cluster has more than {self.largest_cpus:g}: run "
            "with --cpus 1"
        )


def capacity_of(nodes: Iterable[Mapping[str, Any]]) -> Capacity:
    """Return the capacity of the nodes that are alive now.

    Args:
        nodes: The result of ``ray.nodes()``.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return Capacity(fixed=[NodeType(count=1, cpus=r.get("CPU", 0.0), gpus=r.get("GPU", 0.0)) for r in alive])


def machines_to_come(config: Mapping[str, Any], there: Capacity) -> int:
    """Return how many of the user's own machines that the cluster's description names have not joined yet."""
    return max(0, len(provider_of(config).hosts(config)) - there.max_nodes)


def promised_capacity(config: Mapping[str, Any], there: Capacity) -> Capacity | None:
    """Return the capacity that the autoscaler may start, head and workers; None if the description names no sizes.

    A description of the user's own machines names no sizes either: machines that have not joined yet are assumed to be as
    large as the largest that has joined.

    Args:
        config: The cluster's description, as ``ray up`` takes it.
        there: The capacity of the machines that have joined.
    """
    types: Mapping[str, Any] = config.get("available_node_types", {})
    if provider_of(config).own_machines:
        to_come = machines_to_come(config, there)
        return Capacity(fixed=[*there.fixed, NodeType(count=to_come, cpus=there.largest_cpus, gpus=there.largest_gpus)])
    if not types:
        return None
    limit = int(config.get("max_workers", 2))
    head = config.get("head_node_type")
    nodes = {
        name: NodeType(
            count=1 if name == head else int(node.get("max_workers", limit)),
            cpus=node.get("resources", {}).get("CPU", 0),
            gpus=node.get("resources", {}).get("GPU", 0),
        )
        for name, node in types.items()
    }
    return Capacity(
        fixed=[node for name, node in nodes.items() if name == head],
        added=[node for name, node in nodes.items() if name != head],
        max_added=limit,
    )
