"""Watcher that waits for the preemption notice of a spot instance, and then drains its Ray node.

    python -m cluster.preemption aws

It runs beside Ray on every worker node of a cluster of rented machines and polls the cloud, which announces a preemption
some time ahead (``cluster.providers``). After the notice, Ray places nothing new on the node and does not count the node's
end as a failure of its trials. The trials save a checkpoint at once (``leaving``) and resume on other nodes as soon as Ray
drains this one (``draining``).
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
"""File that exists while this machine is about to be preempted."""


def leaving() -> bool:
    """Return whether this machine is about to be preempted. A flag file of another user, except root, is ignored."""
    try:
        return FLAG.lstat().st_uid in {os.getuid(), 0}
    except OSError:
        return False


def draining() -> bool:
    """Return whether Ray is draining this process's node, so that a trial that leaves resumes on another node."""
    # Imported here because Ray takes seconds to load, and `leaving` does not need Ray.
    import ray
    from ray._private.state import state  # no public way

    try:
        return ray.get_runtime_context().get_node_id() in state.get_draining_nodes()
    except Exception:  # the head does not answer; a trial that left now would not be resumed
        return False


def watch(
    notice: Callable[[], str | None],
    *,
    drain: Callable[[str, float], None],
    interval: float,
    say: Callable[[str], None],
    flag: Path = FLAG,
) -> None:
    """Poll until the cloud announces a preemption; then write the flag file for this machine's trials and drain the node.

    Errors are logged and retried, since nobody would notice that the watcher has ended.

    Args:
        notice: Returns the cloud's notice of this machine's preemption, or None as long as there is no notice.
        drain: Drains this node; called with the notice as the reason and the seconds since the notice, until it succeeds.
        interval: Seconds between two polls.
        say: Logs a line.
        flag: The file that trials look for.
    """
    flag.unlink(missing_ok=True)  # left from before this machine was last restarted
    said_last = ""

    def trying_on(what: str, error: Exception) -> None:
        nonlocal said_last
        line = f"{what}, will retry: {error}"
        if line != said_last:
            say(line)
        said_last = line

    found = None
    while True:
        try:
            found = notice()
            said_last = ""
        except Exception as error:
            trying_on("the cloud's metadata cannot be read", error)
        if found:
            break
        time.sleep(interval)
    noticed_at = time.monotonic()
    say(f"this machine will be preempted: {found}")
    try:
        flag.write_text(found)
    except OSError as error:  # a full disk, for example; the drain may still succeed
        say(f"cannot tell the trials on this machine to save: {error}")
    while True:
        try:
            drain(found, time.monotonic() - noticed_at)
            return
        except Exception as error:
            trying_on("the node cannot be drained", error)
        time.sleep(interval)


def drain_node(reason: str, *, deadline: float, node_id: str | None = None, address: str | None = None) -> None:
    """Ask Ray to place nothing new on a node and to end it at the deadline, without counting failures of its trials.

    Args:
        reason: Reason for Ray's log.
        deadline: Seconds from now until Ray ends the node.
        node_id: The node to drain. None means this machine's node.
        address: Address of the cluster. None means the cluster that this machine belongs to.

    Raises:
        RuntimeError: this machine has no node, or Ray declines to drain it.
    """
    # Imported here because Ray takes seconds to load, and `leaving` does not need Ray.
    from ray._private.services import canonicalize_bootstrap_address_or_die, get_node_ip_address
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled; `ray drain-node` uses it as well
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
    """Run the watcher until the cloud announces a preemption and the node is drained."""
    announcing = {name: provider.preemption for name, provider in all_providers().items() if provider.preemption}
    deadlines = ", ".join(f"{preemption.deadline} on {name}" for name, preemption in announcing.items())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ", ".join([*sorted(announcing), "FILE.py:CLASS"])
    parser.add_argument("cloud", help=f"cloud that announces preemptions: {known}")
    parser.add_argument("--endpoint", help="address of the metadata service; default: the cloud's own")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between two polls")
    parser.add_argument(
        "--deadline", type=float, help=f"seconds from the notice to the node's end; default: {deadlines}"
    )
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
