"""Checks of ``zskt doctor`` that use only the facts about the nodes."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.commands.findings import Finding, ok, problem, skipped
from orchestrator.commands.node_facts import NodeFacts
from orchestrator.config.blocks import StorageConfig
from orchestrator.storage import shown

LARGEST_SKEW_SECONDS = 5.0
"""Largest allowed difference between the clocks of a node and the head, since rows and logs are ordered by time."""


def check_nodes(nodes: Sequence[NodeFacts]) -> Finding:
    """Check that all nodes answer."""
    silent = [f"{node.name} ({node.failure})" for node in nodes if node.failure]
    if silent:
        return problem(
            "nodes",
            f"{', '.join(silent)} cannot run tasks of zskt: install the package on every node (setup_commands, or an image "
            "from cluster/Dockerfile)",
        )
    return ok("nodes", f"{len(nodes)} answer" if len(nodes) > 1 else "this machine answers")


def check_versions(nodes: Sequence[NodeFacts]) -> list[Finding]:
    """Check that all nodes have the same version of each piece of software."""
    answered = [node for node in nodes if not node.failure]
    findings = []
    for name in answered[0].versions if answered else ():
        # A head without GPUs may have a CPU build of torch.
        asked = [node for node in answered if node.gpus] if name == "CUDA" else answered
        by_version: dict[str, list[str]] = {}
        for node in asked:
            by_version.setdefault(node.versions[name], []).append(node.name)
        if len(by_version) > 1:
            where = "; ".join(f"{found} on {', '.join(names)}" for found, names in by_version.items())
            findings.append(
                problem(name, f"{where}: use one image, or run ray up again, which installs constraints.txt everywhere")
            )
        elif by_version:
            findings.append(ok(name, next(iter(by_version))))
    return findings


def check_gpus(nodes: Sequence[NodeFacts], *, may_come: bool = False) -> Finding:
    """Check that torch can use the GPUs that Ray counts.

    Args:
        nodes: The nodes that are up.
        may_come: Whether an autoscaler would start further nodes for a sweep.
    """
    if may_come and all(node.is_head for node in nodes):
        return skipped(
            "GPUs",
            "no worker is up, so that none was checked, neither its versions nor its storage: a sweep starts workers; "
            "--start-worker starts one now",
        )
    blind = [
        f"{n.name} ({n.gpus:g} counted, {n.gpus_seen} seen)" for n in nodes if not n.failure and n.gpus > n.gpus_seen
    ]
    if blind:
        return problem(
            "GPUs",
            f"torch does not see the GPUs of {', '.join(blind)}: check nvidia-smi there, the driver, and that torch is no "
            "CPU build",
        )
    total = sum(node.gpus for node in nodes)
    return ok("GPUs", f"{total:g}" if total else "none: trials run on CPUs")


def check_bfloat16(nodes: Sequence[NodeFacts], *, wanted: bool) -> Finding:
    """Check which nodes have instructions for ``precision=bfloat16``.

    Args:
        nodes: The nodes that are up.
        wanted: Whether a trial needs fast bfloat16, so that a node without instructions for it is a problem.
    """
    answered = [node for node in nodes if not node.failure]
    by_means: dict[str | None, list[str]] = {}
    for node in answered:
        by_means.setdefault(node.bfloat16, []).append(node.name)
    have = [f"{means} on {', '.join(names)}" for means, names in by_means.items() if means]
    lacking = ", ".join(by_means.get(None, []))
    if not lacking:
        return ok("bfloat16", "; ".join(have))
    text = "; ".join([*have, f"no instructions for it on {lacking}, where precision=bfloat16 is slow and refused"])
    of_workers = len(nodes) > 1 and all(node.is_head for node in answered if node.bfloat16 is None)
    if wanted and not of_workers:
        return problem("bfloat16", f"{text}: use precision=float32, or allow_slow_precision=true with it")
    return ok("bfloat16", text)


def check_storage(nodes: Sequence[NodeFacts], storage: StorageConfig | None) -> Finding:
    """Check that every node can write to the storage, and that all nodes see the same storage."""
    if storage is None:
        return skipped("storage", "none named; try one with --storage")
    refused = {node.name: node.storage_error for node in nodes if node.storage_error}
    if refused:
        names, reason = ", ".join(refused), next(iter(refused.values()))
        return problem("storage", f"from {names}: {reason}")
    return ok("storage", f"{shown(storage)} is written and read by every node")


def check_clocks(nodes: Sequence[NodeFacts]) -> Finding:
    """Check that the nodes' clocks agree with the head's."""
    answered = [node for node in nodes if not node.failure]
    reference = next((node.clock_ahead for node in answered if node.is_head), 0.0)
    skews = {node.name: node.clock_ahead - reference for node in answered}
    wrong = [f"{name} {skew:+.1f} s" for name, skew in skews.items() if abs(skew) > LARGEST_SKEW_SECONDS]
    if wrong:
        return problem("clocks", f"against the head: {', '.join(wrong)}: set them (NTP: chrony or systemd-timesyncd)")
    largest = max((abs(skew) for skew in skews.values()), default=0.0)
    return ok("clocks", f"within {largest:.1f} s of the head's")
