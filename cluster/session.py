"""Joining or starting Ray, with every setting said aloud."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cluster.capacity import Capacity, capacity_of, machines_to_come, promised_capacity
from cluster.description import read_description
from cluster.prices import Machine, described_machines, machine_of

OBJECT_STORE_BYTES = 512 * 2**20
"""Shared memory of a local session: a data set's images and a teacher, with room to spare."""

CONNECT_SECONDS = 5
"""How long an address may take to answer a knock."""

JOIN_SECONDS = 300
"""How long machines that one already has may take to join after ``ray up``, which does not wait for them."""

logger = logging.getLogger("zskt.cluster")
"""Says when machines keep us waiting."""


class NoClusterError(ConnectionError):
    """No Ray cluster answers."""


@dataclass(frozen=True, kw_only=True)
class RaySession:
    """What the session has to give."""

    cpus: float
    """CPU cores of the machines that are there now."""

    gpus: float
    """Their GPUs."""

    capacity: Capacity
    """The machines that are there, or where an autoscaler starts them, those that may be."""

    hosts: int
    """Machines that are there or may be."""

    description: Mapping[str, Any] = field(default_factory=dict)
    """What its autoscaler was told, as ``ray up`` takes it; empty where nothing is started for us."""

    _known: dict[str, Machine] = field(default_factory=dict)

    def machine(self, node_id: str) -> Machine | None:
        """What a node is that is or was there; none if Ray does not know it."""
        if node_id not in self._known:
            import ray

            self._known.update({node["NodeID"]: machine_of(node, self.description) for node in ray.nodes()})
        return self._known.get(node_id)

    def machines(self) -> set[Machine]:
        """The kinds of machine on which trials may run: those that are there, and those that may be."""
        import ray

        there = [machine_of(node, self.description) for node in ray.nodes() if node["Alive"]]
        promised = described_machines(self.description).values()
        return {machine for machine in (*there, *promised) if machine.cpus > 0}


@contextmanager
def ray_session(address: str | None = None) -> Iterator[RaySession]:
    """Connect to Ray for the length of a block, or use the connection that is there already.

    Args:
        address: ``local`` starts a Ray of our own on this machine; anything else is an address that ``ray.init`` takes.
            None: ``RAY_ADDRESS`` if set, else the cluster that ``ray start`` made this machine part of, else ``local``.

    Raises:
        NoClusterError: no cluster answers at the address.
    """
    # Read by Ray when it is imported or starts its processes.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield _describe({})
        return
    with _sigterm_as_it_was():
        local = _connect(address)
    try:
        description = {} if local else read_description()
        _wait_for_machines(description)
        yield _describe(description)
    finally:
        ray.shutdown()


@contextmanager
def _sigterm_as_it_was() -> Iterator[None]:
    """Keep the caller's handler of SIGTERM, if there is one: ``ray.init`` puts its own in its place, which exits at once."""
    previous = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(previous) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, previous)


def _connect(address: str | None) -> bool:
    """Start a Ray or join one, as ``ray_session`` says; whether it is one of our own."""
    import ray

    local = address == "local" or (address is None and not os.environ.get("RAY_ADDRESS"))
    if local:
        try:
            _start_local(address)
        except ValueError:
            if address is not None:
                raise
            # Without an address Ray joins a cluster made by `ray start`, and then refuses the settings of a local one.
            # (address="auto" would join any Ray on this machine, another user's sweep included, and end with it.)
            local = False
    if not local:
        _check_reachable(address or os.environ.get("RAY_ADDRESS") or _joined_address())
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            raise NoClusterError(str(error)) from error
    return local


def _joined_address() -> str | None:
    """The cluster that ``ray start`` made this machine part of: it may be gone by now."""
    from ray._private.utils import read_ray_address  # Ray has no public way to ask without connecting

    address: str | None = read_ray_address()
    return address


def _check_reachable(address: str | None) -> None:
    """Knock at ``host:port`` first, since Ray goes on trying a dead address for many minutes."""
    host, separator, port = (address or "").removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        forget = "; `ray stop` forgets a cluster that is gone" if address == _joined_address() else ""
        raise NoClusterError(f"no Ray cluster answers at {address}: {error}{forget}") from error


def _start_local(address: str | None) -> None:
    import ray

    # Token authentication protects clusters that others can reach; this one listens on loopback for one user.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    # Makes 127.0.0.1 the node's address, so that a laptop that changes networks keeps its session.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray.init(
        address=address,
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
    )


def _wait_for_machines(description: Mapping[str, Any]) -> None:
    """What a sweep may use is settled when it starts; only then does it know whether there are GPUs."""
    deadline = time.monotonic() + JOIN_SECONDS
    missing = machines_to_come(description, _capacity())
    if missing:
        logger.warning(
            "%d of the cluster's machines %s not joined yet; waiting up to %d s (why: ray status)",
            missing,
            "has" if missing == 1 else "have",
            JOIN_SECONDS,
        )
    while machines_to_come(description, _capacity()) and time.monotonic() < deadline:
        time.sleep(0.5)


def _capacity() -> Capacity:
    import ray

    return capacity_of(ray.nodes())


def _describe(description: Mapping[str, Any]) -> RaySession:
    """What is there, and what the cluster's description promises beside it."""
    import ray

    resources = ray.cluster_resources()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    promised = promised_capacity(description, capacity_of(nodes)) if description else None
    return RaySession(
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        capacity=promised or capacity_of(nodes),
        hosts=promised.max_nodes if promised else len({node["NodeManagerHostname"] for node in nodes}),
        description=description,
    )
