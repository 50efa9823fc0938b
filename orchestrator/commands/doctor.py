"""The work of ``zskt doctor``: check a cluster, its storage and a sweep's inputs before the sweep runs.

One process on each node gathers facts, and the checks use these facts only. Each check yields one line, with a remedy if it
finds a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import zskt_start
from cluster.capacity import Capacity
from cluster.nodes import start_machine
from cluster.prices import described_machines
from cluster.private_folder import NoPrivateFolderError
from cluster.providers.base import QuotaError
from cluster.providers.registry import all_providers, provider_of
from cluster.session import HiddenPackageError, NoClusterError, ray_session
from orchestrator.commands.findings import Finding, ok, problem, skipped
from orchestrator.commands.node_checks import (
    check_bfloat16,
    check_clocks,
    check_gpus,
    check_nodes,
    check_storage,
    check_versions,
)
from orchestrator.commands.node_facts import gather, leave_marker
from orchestrator.config import SweepConfig
from orchestrator.config.blocks import StorageConfig
from orchestrator.costs.pricing import read_cluster
from orchestrator.errors import ClusterError, ZsktError
from orchestrator.storage import find_storage
from trainables.config import AnyTrialConfig
from trainables.errors import TrialError

START_SECONDS = 900.0
"""Time-out for a new machine: to boot, to fetch an image of several GB, and to install the package."""


def examine(
    storage: StorageConfig | None,
    sweep: SweepConfig | None,
    *,
    address: str | None = None,
    cluster: Path | None = None,
    worker: bool = False,
) -> Iterator[Finding]:
    """Make all checks, and yield the finding of each.

    Args:
        storage: Storage to test from every node. None means that none is tested.
        sweep: Sweep whose data sets, teachers and resources are checked. None means that none is.
        address: See ``cluster.session.ray_session``.
        cluster: Description of the cluster, for its spot quota. Defaults to that of the cluster whose head this is.
        worker: Whether to start a machine first if none is up.

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
            marker = None if storage is None else leave_marker(storage)
            nodes = gather(storage, marker, session.borrow_credentials)
            if storage is not None and marker is not None:
                find_storage(storage).delete(marker)
            yield check_nodes(nodes)
            yield from check_versions(nodes)
            yield check_packages()
            yield check_gpus(nodes, may_come=may_come)
            yield check_bfloat16(nodes, wanted=sweep is not None and wants_bfloat16(sweep))
            yield check_clocks(nodes)
            yield check_storage(nodes, storage)
            if sweep is not None:
                yield check_trials(sweep, session.capacity)
    except NoClusterError as error:
        raise ClusterError(f"{error}; check --address and RAY_ADDRESS, or use --address local") from error
    except (NoPrivateFolderError, HiddenPackageError) as error:
        raise ClusterError(str(error)) from error
    if sweep is not None:
        yield from check_inputs(sweep)
    yield check_quota(description)


def wants_bfloat16(sweep: SweepConfig) -> bool:
    """Return whether a trial of the sweep, or one that its search may propose, needs fast bfloat16."""
    # Imported here: Optuna takes a second to load, and doctor may have no sweep to check.
    from orchestrator.search.space import proposed_configs, resolve_domains

    _, domains = resolve_domains(sweep)
    return any(config.needs_bfloat16 for config in proposed_configs(sweep, domains))


def check_packages() -> Finding:
    """Check that no other distribution has been installed into the folders of this program's packages.

    A distribution that hides a whole package is reported when the program starts, and for other nodes by ``check_nodes``.
    """
    shared = zskt_start.shared_packages()
    return problem("packages", "; ".join(shared)) if shared else ok("packages", "all are this program's own")


def check_quota(description: Mapping[str, Any] | None) -> Finding:
    """Check that the cloud's quota covers the spot instances that the cluster's description asks for.

    Args:
        description: Description of the cluster as ``ray up`` takes it. None if there is none.
    """
    quota = provider_of(description or {}).spot_quota
    if not description or quota is None:
        clouds = " or ".join(provider.title for provider in all_providers().values() if provider.spot_quota)
        return skipped("spot quota", f"not a cluster on {clouds}; name one with --cluster")
    region = description["provider"]["region"]
    spot = {name: machine for name, machine in described_machines(description).items() if machine.spot and machine.gpus}
    counts = {name: int(description["available_node_types"][name].get("max_workers", 0)) for name in spot}
    limit = int(description.get("max_workers", 2))
    largest = max((machine.cpus for machine in spot.values()), default=0.0)
    wanted = largest * min(limit, sum(counts.values()))
    try:
        granted = quota.ask(region)
    except QuotaError as error:
        return skipped("spot quota", f"cannot be read in {region} ({error})")
    if granted < wanted:
        return problem(
            "spot quota",
            f"{granted:g} CPU cores of spot instances with GPUs in {region}, and the cluster may want {wanted:g}: ask for "
            f"more of {quota.called}, or lower max_workers",
        )
    return ok("spot quota", f"{granted:g} CPU cores in {region}, of which at most {wanted:g} are needed")


def check_inputs(sweep: SweepConfig) -> list[Finding]:
    """Check, on this machine, that the data sets and teachers of a sweep can be read."""
    from orchestrator.inputs.prepare import SweepImages, find_teacher, in_words  # imports torch and Ray

    store, images = find_storage(sweep.storage), SweepImages(sweep)
    findings: list[Finding] = []

    def look(what: str, find: Callable[[], str]) -> None:
        try:
            findings.append(ok(what, find()))
        except (ZsktError, TrialError, OSError) as error:
            findings.append(problem(what, str(error)))

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
    """Check that the cluster can hold a trial of the sweep, and count how many."""
    settled = sweep.on_cluster(gpus=capacity.largest_gpus)
    try:
        trials = capacity.trials(cpus=settled.resources.cpu, gpus=settled.gpus_per_trial)
    except ValueError as error:
        return problem("trials", str(error))
    may_share = sweep.resources.gpu == "auto" and settled.gpus_per_trial
    more = ", or more where the sweep finds that trials should share a GPU" if may_share else ""
    return ok(
        "trials",
        f"{trials} at once, each with {settled.resources.cpu:g} CPU cores and {settled.gpus_per_trial:g} GPUs{more}",
    )


def start_worker(capacity: Capacity) -> Finding | None:
    """Let the autoscaler start a machine, with a GPU if it can, wait for the machine, and return the problem if none comes.

    The machine is removed after the idle time that the cluster's description sets.
    """
    if start_machine(gpus=min(1.0, capacity.largest_gpus), seconds=START_SECONDS):
        return None
    return problem(
        "worker",
        f"no machine came up in {START_SECONDS:g} s: `ray status` and `ray monitor FILE` say why (no capacity? no quota? "
        "set-up commands that fail?)",
    )
