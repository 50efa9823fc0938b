"""Watches for the notice that a spot machine is about to be taken away, and drains the node in time.

    python -m cluster.preemption aws

Runs on every worker of a cluster of rented machines, beside Ray, and asks the machine's cloud, which announces a loss some
time ahead (``cluster.providers``). From then on Ray places nothing new on the node and does not count its end as a failure
of the trials there, which save at once (``leaving``) and go on elsewhere once Ray drains the node (``draining``).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster.providers.base import Metadata
from cluster.providers.registry import all_providers, find_provider

FLAG = Path(os.environ.get("ZSKT_LEAVING_FLAG", Path(tempfile.gettempdir()) / "zskt-leaving"))
"""File that is there while this machine is about to be taken away."""


def leaving() -> bool:
    """Whether this machine is about to be taken away. A flag that another user has raised says nothing."""
    try:
        return FLAG.lstat().st_uid in {os.getuid(), 0}
    except OSError:
        return False


def draining() -> bool:
    """Whether Ray places nothing new on the node of this process any more, so that what leaves it goes on elsewhere."""
    # Ray takes seconds to load, and whoever only looks for the flag has no need of it.
    import ray
    from ray._private.state import state  # no public way

    try:
        return ray.get_runtime_context().get_node_id() in state.get_draining_nodes()
    except Exception:  # the head does not answer; then nobody would go on with what leaves
        return False


def watch(
    notice: Callable[[], str | None],
    *,
    drain: Callable[[str, float], None],
    interval: float,
    say: Callable[[str], None],
    flag: Path = FLAG,
) -> None:
    """Poll until the cloud gives notice; then raise the flag for the trials here and drain the node.

    Nothing that goes wrong ends it before that: nobody would miss a watcher that is gone.

    Args:
        notice: Asks the cloud; gives what it says of this machine's end, None as long as it says nothing.
        drain: Drains this node, with the notice as the reason and how many seconds ago it was. Tried until it succeeds.
        interval: Seconds between two questions.
        say: Where to log.
        flag: The file that trials look for.
    """
    flag.unlink(missing_ok=True)  # of an earlier life of this machine
    said_last = ""

    def trying_on(what: str, error: Exception) -> None:
        nonlocal said_last
        line = f"{what}, trying on: {error}"
        if line != said_last:
            say(line)
        said_last = line

    found = None
    while True:
        try:
            found = notice()
            said_last = ""
        except Exception as error:
            trying_on("metadata cannot be read", error)
        if found:
            break
        time.sleep(interval)
    noticed_at = time.monotonic()
    say(f"this machine is taken away: {found}")
    try:
        flag.write_text(found)
    except OSError as error:  # a full disk; the drain may still succeed
        say(f"trials here are not told to save: {error}")
    while True:
        try:
            drain(found, time.monotonic() - noticed_at)
            return
        except Exception as error:
            trying_on("the node cannot be drained", error)
        time.sleep(interval)


def drain_node(reason: str, *, deadline: float, node_id: str | None = None, address: str | None = None) -> None:
    """Ask Ray to place nothing new on a node and to end it at the deadline, counting nobody's failure.

    Args:
        reason: For Ray's log.
        deadline: Seconds from now.
        node_id: The node; none: that of this machine.
        address: The cluster's; none: that which this machine belongs to.

    Raises:
        RuntimeError: this machine has no node, or Ray declines.
    """
    # Ray takes seconds to load, and whoever only looks for the flag has no need of it.
    from ray._private.services import canonicalize_bootstrap_address_or_die, get_node_ip_address
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled; `ray drain-node` uses it likewise
    from ray.core.generated import autoscaler_pb2

    client = GcsClient(address=canonicalize_bootstrap_address_or_die(address))
    if node_id is None:
        here = get_node_ip_address()
        nodes = client.get_all_node_info().values()
        mine = [node for node in nodes if node.node_manager_address == here and node.state == 0]
        if not mine:
            raise RuntimeError(f"no node of the cluster is at {here}")
        node_id = mine[0].node_id.hex()
    accepted, why = client.drain_node(
        node_id,
        autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
        reason,
        int((time.time() + deadline) * 1000),
    )
    if not accepted:
        raise RuntimeError(f"Ray does not drain node {node_id}: {why}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Watch for ever, or until the machine is taken away."""
    announcing = {name: provider.preemption for name, provider in all_providers().items() if provider.preemption}
    deadlines = ", ".join(f"{preemption.deadline} on {name}" for name, preemption in announcing.items())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ", ".join([*sorted(announcing), "FILE.py:CLASS"])
    parser.add_argument("cloud", help=f"one that announces it: {known}")
    parser.add_argument("--endpoint", help="address of the metadata service; default: the cloud's own")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between two questions")
    parser.add_argument("--deadline", type=float, help=f"seconds until the node ends; default: {deadlines}")
    parser.add_argument("--node-id", help="node to drain; default: this machine's")
    parser.add_argument("--address", help="address of the Ray cluster; default: this machine's")
    options = parser.parse_args(arguments)
    try:
        provider = find_provider(options.cloud)
    except ValueError as error:
        parser.error(str(error))
    if provider is None or provider.preemption is None:
        parser.error(f"argument cloud: invalid choice: {options.cloud!r} (choose from {known})")
    preemption = provider.preemption
    metadata = Metadata(endpoint=options.endpoint or preemption.endpoint)
    deadline = preemption.deadline if options.deadline is None else options.deadline
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    watch(
        lambda: preemption.notice(metadata),
        drain=lambda reason, ago: drain_node(
            reason, deadline=max(1.0, deadline - ago), node_id=options.node_id, address=options.address
        ),
        interval=options.interval,
        say=say,
    )


if __name__ == "__main__":
    main()
