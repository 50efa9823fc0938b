"""``zskt doctor``: whether a cluster, its storage and what a sweep needs are as they must be, before a sweep finds out.

Facts are gathered in one process on each node; checks look at the facts alone. Each check gives one line, with the remedy
where something is wrong.
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
"""How long a machine may take to come: to boot, to fetch an image of several GB, to install the package."""


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
    """Whether a trial asks for it, or a search may propose it, and none allows that it be slow."""
    # Optuna takes a second to load, and doctor may have no sweep to look at.
    from orchestrator.search.space import proposed_configs, resolve_domains

    _, domains = resolve_domains(sweep)
    return any(config.needs_bfloat16 for config in proposed_configs(sweep, domains))


def check_packages() -> Finding:
    """Look whether another distribution has been installed into the folders of this program's packages.

    What hides them whole is told when the program starts, and of other nodes by ``check_nodes``.
    """
    shared = zskt_start.shared_packages()
    return problem("packages", "; ".join(shared)) if shared else ok("packages", "all are this program's own")


def check_quota(description: Mapping[str, Any] | None) -> Finding:
    """Look whether the cloud lets the cluster have the spot machines that its description asks for.

    Args:
        description: The cluster's, as ``ray up`` takes it; None where there is none.
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
        return skipped("spot quota", f"may not be asked for in {region} ({error})")
    if granted < wanted:
        return problem(
            "spot quota",
            f"{granted:g} CPU cores of spot machines with GPUs in {region}, and the cluster may want {wanted:g}: ask for "
            f"more of {quota.called}, or lower max_workers",
        )
    return ok("spot quota", f"{granted:g} CPU cores in {region}, {wanted:g} wanted at most")


def check_inputs(sweep: SweepConfig) -> list[Finding]:
    """Whether data sets and teachers of a sweep are there, asked where its driver would run."""
    from orchestrator.inputs.prepare import SweepImages, find_teacher, in_words  # brings torch and Ray

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
    """Whether the cluster can hold a trial, and how many."""
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
    """Have the autoscaler start a machine, one with a GPU where it may, and wait for it; what went wrong.

    The machine goes when it has been idle for as long as the cluster's description says.
    """
    if start_machine(gpus=min(1.0, capacity.largest_gpus), seconds=START_SECONDS):
        return None
    return problem(
        "worker",
        f"none has come in {START_SECONDS:g} s: `ray status` and `ray monitor FILE` say why (no capacity? no quota? set-up "
        "commands that fail?)",
    )
