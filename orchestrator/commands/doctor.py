"""``zskt doctor``: whether a cluster, its storage and what a sweep needs are as they must be, before a sweep finds out.

Facts are gathered in one process on each node; checks look at the facts alone. Each check gives one line, with the remedy
where something is wrong.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from cluster.capacity import Capacity
from cluster.credentials import no_credentials
from cluster.prices import described_machines
from cluster.private_folder import NoPrivateFolderError
from cluster.providers.base import QuotaError
from cluster.providers.registry import PROVIDERS, provider_of
from cluster.session import NoClusterError, ray_session
from orchestrator.config import SweepConfig
from orchestrator.config.blocks import StorageConfig
from orchestrator.costs.pricing import read_cluster
from orchestrator.errors import ClusterError, ZsktError
from orchestrator.storage import find_storage, open_storage, shown
from trainables.config import AnyTrialConfig
from trainables.errors import TrialError
from trainables.storage.addresses import expand_home

LARGEST_SKEW_SECONDS = 5.0
"""By which a node's clock may differ from the head's. Rows and logs are put in order by time."""

ANSWER_SECONDS = 120.0
"""How long a node may take to answer; importing torch on a cold disk takes a while."""

START_SECONDS = 900.0
"""How long a machine may take to come: to boot, to fetch an image of several GB, to install the package."""

Outcome = Literal["ok", "problem", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check has found, in a line."""

    outcome: Outcome
    what: str
    text: str
    """Of a problem with the remedy."""

    def __str__(self) -> str:
        return f"{self.outcome:8} {self.what}: {self.text}"


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


def check_nodes(nodes: Sequence[NodeFacts]) -> Finding:
    """Whether all of them answer."""
    silent = [f"{node.name} ({node.failure})" for node in nodes if node.failure]
    if silent:
        return _problem(
            "nodes",
            f"{', '.join(silent)} cannot run our tasks: install the package on every node (setup_commands, or an image from "
            "cluster/Dockerfile)",
        )
    return _ok("nodes", f"{len(nodes)} answer" if len(nodes) > 1 else "this machine answers")


def check_versions(nodes: Sequence[NodeFacts]) -> list[Finding]:
    """Whether each piece of software is the same on all of them."""
    answered = [node for node in nodes if not node.failure]
    findings = []
    for name in answered[0].versions if answered else ():
        # A head without GPUs may well have a build for CPUs.
        asked = [node for node in answered if node.gpus] if name == "CUDA" else answered
        by_version: dict[str, list[str]] = {}
        for node in asked:
            by_version.setdefault(node.versions[name], []).append(node.name)
        if len(by_version) > 1:
            where = "; ".join(f"{found} on {', '.join(names)}" for found, names in by_version.items())
            findings.append(
                _problem(
                    name, f"{where}: use one image, or run ray up again, which installs constraints.txt everywhere"
                )
            )
        elif by_version:
            findings.append(_ok(name, next(iter(by_version))))
    return findings


def check_gpus(nodes: Sequence[NodeFacts], *, may_come: bool = False) -> Finding:
    """Whether torch can use the GPUs that Ray counts.

    Args:
        nodes: Those that are there.
        may_come: Whether an autoscaler starts others for a sweep.
    """
    if may_come and all(node.is_head for node in nodes):
        return Finding(
            outcome="skipped",
            what="GPUs",
            text="no worker is up, so none was looked at, for its versions and storage neither: a sweep starts them; "
            "--start-worker starts one now",
        )
    blind = [
        f"{n.name} ({n.gpus:g} counted, {n.gpus_seen} seen)" for n in nodes if not n.failure and n.gpus > n.gpus_seen
    ]
    if blind:
        return _problem(
            "GPUs",
            f"torch does not see those of {', '.join(blind)}: check nvidia-smi there, the driver, and that torch is no "
            "build for CPUs",
        )
    total = sum(node.gpus for node in nodes)
    return _ok("GPUs", f"{total:g}" if total else "none: trials run on CPUs")


def check_bfloat16(nodes: Sequence[NodeFacts], *, wanted: bool) -> Finding:
    """What each node has for ``precision=bfloat16``.

    Args:
        nodes: Those that are there.
        wanted: Whether a trial asks for it, and does not allow that it be slow.
    """
    answered = [node for node in nodes if not node.failure]
    by_means: dict[str | None, list[str]] = {}
    for node in answered:
        by_means.setdefault(node.bfloat16, []).append(node.name)
    have = [f"{means} on {', '.join(names)}" for means, names in by_means.items() if means]
    lacking = ", ".join(by_means.get(None, []))
    if not lacking:
        return _ok("bfloat16", "; ".join(have))
    text = "; ".join([*have, f"no instructions for it on {lacking}, where precision=bfloat16 is slow and refused"])
    of_workers = len(nodes) > 1 and all(node.is_head for node in answered if node.bfloat16 is None)
    if wanted and not of_workers:
        return _problem("bfloat16", f"{text}: use precision=float32, or allow_slow_precision=true with it")
    return _ok("bfloat16", text)


def wants_bfloat16(sweep: SweepConfig) -> bool:
    """Whether a trial asks for it, or a search may propose it, and none allows that it be slow."""
    from orchestrator.search.space import proposed_configs, surveyed_space

    _, domains = surveyed_space(sweep)
    return any(config.needs_bfloat16 for config in proposed_configs(sweep, domains))


def check_storage(nodes: Sequence[NodeFacts], storage: StorageConfig | None) -> Finding:
    """Whether every node can write to the storage, and all to the same one."""
    if storage is None:
        return Finding(outcome="skipped", what="storage", text="none named; try one with --storage")
    refused = {node.name: node.storage_error for node in nodes if node.storage_error}
    if refused:
        names, reason = ", ".join(refused), next(iter(refused.values()))
        return _problem("storage", f"from {names}: {reason}")
    return _ok("storage", f"{shown(storage)} is written and read by every node")


def check_clocks(nodes: Sequence[NodeFacts]) -> Finding:
    """Whether their clocks agree with the head's."""
    answered = [node for node in nodes if not node.failure]
    reference = next((node.clock_ahead for node in answered if node.is_head), 0.0)
    skews = {node.name: node.clock_ahead - reference for node in answered}
    wrong = [f"{name} {skew:+.1f} s" for name, skew in skews.items() if abs(skew) > LARGEST_SKEW_SECONDS]
    if wrong:
        return _problem("clocks", f"against the head: {', '.join(wrong)}: set them (NTP: chrony or systemd-timesyncd)")
    largest = max((abs(skew) for skew in skews.values()), default=0.0)
    return _ok("clocks", f"within {largest:.1f} s of the head's")


def check_quota(description: Mapping[str, Any] | None) -> Finding:
    """Look whether the cloud lets the cluster have the spot machines that its description asks for.

    Args:
        description: The cluster's, as ``ray up`` takes it; None where there is none.
    """
    quota = provider_of(description or {}).spot_quota
    if not description or quota is None:
        clouds = " or ".join(provider.title for provider in PROVIDERS.values() if provider.spot_quota)
        return Finding(outcome="skipped", what="spot quota", text=f"not a cluster on {clouds}; name one with --cluster")
    region = description["provider"]["region"]
    spot = {name: machine for name, machine in described_machines(description).items() if machine.spot and machine.gpus}
    counts = {name: int(description["available_node_types"][name].get("max_workers", 0)) for name in spot}
    limit = int(description.get("max_workers", 2))
    largest = max((machine.cpus for machine in spot.values()), default=0.0)
    wanted = largest * min(limit, sum(counts.values()))
    try:
        granted = quota.ask(region)
    except QuotaError as error:
        return Finding(outcome="skipped", what="spot quota", text=f"may not be asked for in {region} ({error})")
    if granted < wanted:
        return _problem(
            "spot quota",
            f"{granted:g} CPU cores of spot machines with GPUs in {region}, and the cluster may want {wanted:g}: ask for "
            f"more of {quota.called}, or lower max_workers",
        )
    return _ok("spot quota", f"{granted:g} CPU cores in {region}, {wanted:g} wanted at most")


def check_inputs(sweep: SweepConfig) -> list[Finding]:
    """Whether data sets and teachers of a sweep are there, asked where its driver would run."""
    from orchestrator.inputs.prepare import SweepImages, find_teacher, in_words  # brings torch and Ray

    store, images = find_storage(sweep.storage), SweepImages(sweep)
    findings: list[Finding] = []

    def look(what: str, find: Callable[[], str]) -> None:
        try:
            findings.append(_ok(what, find()))
        except (ZsktError, TrialError, OSError) as error:
            findings.append(_problem(what, str(error)))

    def images_of(config: AnyTrialConfig) -> str:
        splits = images.of(config)
        return f"{len(splits.train)} training and {len(splits.test)} test images"

    def teacher_of(config: AnyTrialConfig) -> str:
        teacher = find_teacher(config, sweep, images, store)
        if teacher is not None:
            return in_words(teacher)
        return f"not there yet; the sweep trains it first, on {images_of(config)}"

    configs = sweep.configs()
    for config in {config.splits_key: config for config in configs if config.reads_images}.values():
        look(f"data set {config.dataset}", partial(images_of, config))
    for config in {config.teacher_key: config for config in configs if config.teacher_key}.values():
        look(f"teacher {config.teacher}", partial(teacher_of, config))
    return findings


def check_trials(sweep: SweepConfig, capacity: Capacity) -> Finding:
    """Whether the cluster can hold a trial, and how many."""
    settled = sweep.on_cluster(gpus=capacity.largest_gpus)
    try:
        trials = capacity.trials(cpus=settled.resources.cpu, gpus=settled.gpus_per_trial)
    except ValueError as error:
        return _problem("trials", str(error))
    may_share = sweep.resources.gpu == "auto" and settled.gpus_per_trial
    more = ", or more where the sweep finds that trials should share a GPU" if may_share else ""
    return _ok(
        "trials",
        f"{trials} at once, each with {settled.resources.cpu:g} CPU cores and {settled.gpus_per_trial:g} GPUs{more}",
    )


def start_worker(capacity: Capacity) -> Finding | None:
    """Have the autoscaler start a machine, one with a GPU where it may, and wait for it; what went wrong.

    The machine goes when it has been idle for as long as the cluster's description says.
    """
    import ray

    waiting = ray.remote(num_cpus=1, num_gpus=min(1.0, capacity.largest_gpus), max_retries=0)(_clock).remote()
    ready, _ = ray.wait([waiting], timeout=START_SECONDS)
    if ready:
        return None
    ray.cancel(waiting, force=True)
    return _problem(
        "worker",
        f"none has come in {START_SECONDS:g} s: `ray status` and `ray monitor FILE` say why (no capacity? no quota? set-up "
        "commands that fail?)",
    )


def examine(
    storage: StorageConfig | None,
    sweep: SweepConfig | None,
    *,
    address: str | None = None,
    cluster: Path | None = None,
    worker: bool = False,
) -> Iterator[Finding]:
    """All checks, each as it is made.

    Args:
        storage: To be tried from every node; none: it is not.
        sweep: Whose data sets, teachers and resources are looked at; none: nobody's.
        address: See ``cluster.session.ray_session``.
        cluster: Description of the cluster, for its spot quota; none: that of the cluster whose head this is.
        worker: Whether a machine is started first where none is up yet.

    Raises:
        ClusterError: there is no Ray at the address.
        ConfigError: the description cannot be read.
    """
    description = read_cluster(cluster)
    try:
        with ray_session(address) as session:
            may_come = bool(session.capacity.added)
            if worker and may_come and (trouble := start_worker(session.capacity)):
                yield trouble
            marker = None if storage is None else _leave_marker(storage)
            nodes = gather(storage, marker, session.borrow_credentials)
            if storage is not None and marker is not None:
                find_storage(storage).delete(marker)
            yield check_nodes(nodes)
            yield from check_versions(nodes)
            yield check_gpus(nodes, may_come=may_come)
            yield check_bfloat16(nodes, wanted=sweep is not None and wants_bfloat16(sweep))
            yield check_clocks(nodes)
            yield check_storage(nodes, storage)
            if sweep is not None:
                yield check_trials(sweep, session.capacity)
    except NoClusterError as error:
        raise ClusterError(f"{error}; check --address and RAY_ADDRESS, or use --address local") from error
    except NoPrivateFolderError as error:
        raise ClusterError(str(error)) from error
    if sweep is not None:
        yield from check_inputs(sweep)
    yield check_quota(description)


def _leave_marker(storage: StorageConfig) -> str | None:
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
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]

    def on(node: Mapping[str, Any], function: Callable[..., Any], *arguments: Any) -> Any:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        return ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=there).remote(*arguments)

    if storage is not None and not storage.address.scheme:  # processes elsewhere have other working folders
        storage = storage.model_copy(update={"uri": str(expand_home(storage.uri).resolve())})
    asked = [on(node, local_facts, storage, marker, borrow_credentials) for node in nodes]
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
            there = ray.get(on(node, _clock), timeout=ANSWER_SECONDS)
            known["clock_ahead"] = there - (before + time.time()) / 2
        except (ray.exceptions.RayError, TimeoutError) as error:
            known["failure"] = str(error).strip().splitlines()[-1] or type(error).__name__
        facts.append(NodeFacts(**known))
    return facts


def _clock() -> float:
    """What time it is there: ``time.time`` is no function that Ray can send."""
    return time.time()


def _ok(what: str, text: str) -> Finding:
    return Finding(outcome="ok", what=what, text=text)


def _problem(what: str, text: str) -> Finding:
    return Finding(outcome="problem", what=what, text=text)
