"""Sessions of Ray: join a running cluster or start Ray on this machine, with every setting made explicit."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zskt_start
from cluster.authentication import is_refused, token_of_cluster
from cluster.capacity import Capacity, capacity_of, machines_to_come, promised_capacity
from cluster.cpus import available_cpus
from cluster.credentials import lend_credentials, no_credentials
from cluster.description import read_description
from cluster.local_ray import local_ray
from cluster.prices import Machine, described_machines, machine_of
from cluster.private_folder import VARIABLE as FOLDER_VARIABLE
from cluster.private_folder import private_folder

CONNECT_SECONDS = 5
"""Time-out of the test connection to a cluster's address, in seconds."""

JOIN_SECONDS = 300
"""Seconds to wait for the user's own machines to join after ``ray up``, which does not wait for them."""

_OTHER_TOKEN = (
    "the Ray cluster at {address} asks for a token, and this machine has none or another one: write the cluster's into "
    "~/.ray/auth_token, or name its file with RAY_AUTH_TOKEN_PATH"
)

logger = logging.getLogger("zskt.cluster")
"""Logger that reports a wait for machines."""


class NoClusterError(ConnectionError):
    """No Ray cluster answers."""


class HiddenPackageError(RuntimeError):
    """Workers of the cluster would import a foreign package in place of one of this program's; the message names it."""


@dataclass(frozen=True, kw_only=True)
class RaySession:
    """A connection to Ray, with the resources of the cluster."""

    cpus: float
    """CPU cores of the machines that have joined."""

    gpus: float
    """GPUs of the machines that have joined."""

    capacity: Capacity
    """Capacity of the machines that an autoscaler may start; without an autoscaler, of the machines that have joined."""

    hosts: int
    """Number of machines that the cluster has; with an autoscaler, the maximum number."""

    folder: Path
    """Private folder of this session on this machine, removed at the session's end."""

    description: Mapping[str, Any] = field(default_factory=dict)
    """The cluster's description, as ``ray up`` takes it; empty if no description is known."""

    borrow_credentials: Callable[[], None] = no_credentials
    """Function that a worker calls before it uses storage, to copy the driver's storage credentials if it has none."""

    _known: dict[str, Machine] = field(default_factory=dict)

    def machine(self, node_id: str) -> Machine | None:
        """Return the machine of a node that is or was alive; None if Ray does not know the node."""
        if node_id not in self._known:
            # Imported late, since ray_session sets the environment variables that Ray reads on import.
            import ray

            self._known.update({node["NodeID"]: machine_of(node, self.description) for node in ray.nodes()})
        return self._known.get(node_id)

    def machines(self) -> set[Machine]:
        """Return the machines on which trials may run: those of live nodes, and those that the autoscaler may start."""
        # Imported late, since ray_session sets the environment variables that Ray reads on import.
        import ray

        there = [machine_of(node, self.description) for node in ray.nodes() if node["Alive"]]
        promised = described_machines(self.description).values()
        return {machine for machine in (*there, *promised) if machine.cpus > 0}


@contextmanager
def ray_session(address: str | None = None) -> Iterator[RaySession]:
    """Connect to Ray for the length of a block, or use the connection that this process already has.

    Args:
        address: ``local`` starts a private Ray on this machine; anything else is an address that ``ray.init`` takes.
            None means ``RAY_ADDRESS`` if it is set, else the cluster that this machine joined with ``ray start``, else
            ``local``.

    Raises:
        NoClusterError: no cluster answers at the address, or it asks for a token that this machine does not have.
        HiddenPackageError: the working folder holds a file or folder with the name of one of this program's packages.
    """
    # Ray puts the working folder before Python's path in all processes that it starts.
    hidden = zskt_start.clashes([str(Path.cwd())])
    if hidden:
        raise HiddenPackageError(hidden[0])
    # Ray reads these variables when it is imported or starts its processes.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray  # only after the variables are set

    with private_folder() as folder, ExitStack() as stack:
        if ray.is_initialized():
            ours = FOLDER_VARIABLE in os.environ  # a local session, whose processes inherit the driver's environment
            yield _describe(folder, borrow_credentials=no_credentials if ours else lend_credentials())
            return
        address = address or os.environ.get("RAY_ADDRESS") or _joined_address() or "local"
        with _sigterm_as_it_was():
            stack.enter_context(_connected(address, folder))
        if address == "local":
            yield _describe(folder)
            return
        description = read_description()
        _wait_for_machines(description)
        yield _describe(folder, description, borrow_credentials=lend_credentials())


@contextmanager
def _sigterm_as_it_was() -> Iterator[None]:
    """Restore the caller's handler of SIGTERM after the block, since ``ray.init`` replaces it by one that exits at once.

    Raises:
        KeyboardInterrupt: SIGTERM came while Ray's handler was in place.
    """
    previous = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:
        if callable(previous) and error.code == signal.SIGTERM:
            raise KeyboardInterrupt from error
        raise
    finally:
        if callable(previous) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, previous)


@contextmanager
def _connected(address: str, folder: Path) -> Iterator[None]:
    """Start a private Ray or join a cluster for the length of a block.

    Raises:
        NoClusterError: see ``ray_session``.
    """
    if address == "local":
        with local_ray(folder, cpus=available_cpus()):
            yield
        return
    # Imported late, since ray_session sets the environment variables that Ray reads on import.
    import ray

    _check_reachable(address)
    with token_of_cluster(address):
        try:
            if not address.startswith("ray://") and is_refused(address):
                raise NoClusterError(_OTHER_TOKEN.format(address=address))
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except ray.exceptions.AuthenticationError as error:
            raise NoClusterError(_OTHER_TOKEN.format(address=address)) from error
        except ConnectionError as error:
            raise NoClusterError(str(error)) from error
        try:
            yield
        finally:
            ray.shutdown()


def _joined_address() -> str | None:
    """Return the address of the cluster that this machine joined with ``ray start``; None if it joined none.

    The cluster may have ended since. Ray's record of the address lies where every user of the machine can write, so a record
    that belongs neither to this user nor to root is ignored. (``address="auto"`` would join any Ray on this machine, another
    user's sweep included, and end with it.)
    """
    from ray._private.utils import get_ray_address_file  # Ray has no public way to ask without connecting

    try:
        record = os.open(get_ray_address_file(None), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(record) as file:  # not by its path, which could lead to another file by now
        if os.fstat(record).st_uid not in {os.getuid(), 0}:
            return None
        return file.read().strip() or None


def _check_reachable(address: str) -> None:
    """Try to connect to ``host:port`` before Ray does, since Ray retries a dead address for many minutes.

    Raises:
        NoClusterError: nothing answers at the address.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        forget = "; `ray stop` forgets a cluster that is gone" if address == _joined_address() else ""
        raise NoClusterError(f"no Ray cluster answers at {address}: {error}{forget}") from error


def _wait_for_machines(description: Mapping[str, Any]) -> None:
    """Wait, up to ``JOIN_SECONDS``, for the user's own machines that the description names.

    A sweep decides when it starts whether it uses GPUs, so the machines have to be known by then.
    """
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
    # Imported late, since ray_session sets the environment variables that Ray reads on import.
    import ray

    return capacity_of(ray.nodes())


def _describe(
    folder: Path,
    description: Mapping[str, Any] | None = None,
    *,
    borrow_credentials: Callable[[], None] = no_credentials,
) -> RaySession:
    """Return the session, with the resources of the live nodes and the capacity that the description promises."""
    # Imported late, since ray_session sets the environment variables that Ray reads on import.
    import ray

    resources = ray.cluster_resources()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    promised = promised_capacity(description, capacity_of(nodes)) if description else None
    return RaySession(
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        capacity=promised or capacity_of(nodes),
        hosts=promised.max_nodes if promised else len({node["NodeManagerHostname"] for node in nodes}),
        folder=folder,
        description=description or {},
        borrow_credentials=borrow_credentials,
    )
