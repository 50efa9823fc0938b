"""Checks that refuse a session before it starts, or end it at a first report.

Without them, a session could mix results that are not comparable, lose results, or run in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch.nn.modules.batchnorm import _BatchNorm

from cluster.prices import Machine, PriceList
from orchestrator.config import SweepConfig
from orchestrator.costs.pricing import prices_of
from orchestrator.errors import ConfigError, SweepMismatchError
from orchestrator.results import SweepResults
from orchestrator.results.sessions import continued, domains_from_json
from orchestrator.search.space import proposed_configs
from orchestrator.search.study import running_trials
from orchestrator.storage import SweepStore, layout
from trainables.compute.precision import check_precision
from trainables.config import AnyTrialConfig
from trainables.config.network_names import find_family
from trainables.metrics import METRICS
from trainables.networks import build_network, check_network
from trainables.seeding import seeded
from trainables.storage.checkpoint import CheckpointStore
from trainables.training.attention import compared_layers, watch_layers
from trainables.training.losses import check_divergence
from trainables.trial import TrialInputs


def check_before_start(
    sweep: SweepConfig, sweep_store: SweepStore, domains: Mapping[str, BaseDistribution]
) -> SweepConfig:
    """Check a sweep before anything is started, and return its config for the next session.

    Args:
        sweep: Config that the user asks for.
        sweep_store: The sweep on its storage, where it may not exist yet.
        domains: Domains of the fields that a search varies: see ``resolve_domains``.

    Raises:
        ConfigError: the prices cannot be read.
        SweepMismatchError: the id belongs to a sweep with other settings.
        NetworkError: a network does not fit the training loop.
        ConfigError, DivergenceError: see ``check_losses``.
    """
    sweep = continued(sweep_store, sweep)
    check_same_sweep(sweep_store, sweep)
    check_same_space(sweep_store, domains)
    prices_of(sweep)
    networks = {
        (
            name,
            *config.spec.image_shape,
            config.spec.num_classes,
            config.generator_size is not None,
            learns,
        ): config.spec
        for config in sweep.configs()
        for field, learns in (("student", True), ("teacher", False))
        for name in _values(config, field, domains)
        if name
    }
    for key in sorted(networks):
        name, *_, has_generator, learns = key
        check_network(name, **networks[key].shapes, has_generator=has_generator, learns=learns)
    if not SweepResults(sweep_store).sessions():  # a sweep that has begun keeps its losses
        check_losses(sweep, domains)
    return sweep


def check_losses(sweep: SweepConfig, domains: Mapping[str, BaseDistribution]) -> None:
    """Refuse losses with which every trial would fail or learn nothing.

    Raises:
        ConfigError: attention transfer is used between networks whose activations do not match, or a BatchNorm term with a
            teacher that has no BatchNorm.
        DivergenceError: a divergence of another package or of a file does not fit the training loop.
    """
    divergences: set[tuple[str, Literal["student", "generator"], int]] = set()
    pairs: dict[tuple[object, ...], tuple[str, AnyTrialConfig, float]] = {}
    for config in sweep.configs():
        classes = config.spec.num_classes
        divergences |= {(name, "student", classes) for name in _values(config, "student_divergence", domains)}
        divergences |= {(name, "generator", classes) for name in _values(config, "generator_divergence", domains)}
        if config.teacher and min(_values(config, "batch_norm_weight", domains), default=0) > 0:
            _check_batch_norm(config)
        weight = max(_values(config, "attention_weight", domains), default=0)
        if config.teacher and (weight > 0 or any(config.attention_layers)):
            for student in _values(config, "student", domains):
                layers = config.attention_layers
                pairs[(student, config.teacher, *config.spec.image_shape, *layers)] = student, config, weight
    for name, role, classes in sorted(divergences):
        check_divergence(name, num_classes=classes, role=role)
    for student, config, weight in pairs.values():
        names, spec, layers = (student, str(config.teacher)), config.spec, config.attention_layers
        if names[0] == names[1] and find_family(student) and layers == (None, None):
            continue
        with seeded(0, "only looked at"):
            networks = [build_network(name, **spec.shapes) for name in names]
            try:
                for network, named, name in zip(networks, layers, names, strict=True):
                    watch_layers(network, named, spec.image_shape, name=name)
                compared_layers(
                    networks[0],
                    networks[1],
                    spec.image_shape,
                    weight=weight,
                    names=names,
                    layers=layers,
                )
            except ValueError as error:
                raise ConfigError(str(error)) from error


def _check_batch_norm(config: AnyTrialConfig) -> None:
    """Refuse a teacher without BatchNorm if a loss term compares the images with its running statistics.

    Raises:
        ConfigError: the teacher has no BatchNorm layer.
    """
    with seeded(0, "only looked at"):
        teacher = build_network(str(config.teacher), **config.spec.shapes)
    if not any(isinstance(module, _BatchNorm) for module in teacher.modules()):
        raise ConfigError(
            f"batch_norm_weight: {config.teacher} has no BatchNorm whose statistics images could match; use 0, and "
            "another term such as one_hot_weight or balance_weight"
        )


def _values(config: AnyTrialConfig, field: str, domains: Mapping[str, BaseDistribution]) -> Sequence[Any]:
    """Return the values that a field may have in a trial.

    A searched range yields its two ends, and a field that the method does not have yields no values.
    """
    match domains.get(field):
        case CategoricalDistribution(choices=choices):
            return choices
        case IntDistribution(low=low, high=high) | FloatDistribution(low=low, high=high):
            return low, high
    return [getattr(config, field)] if field in type(config).model_fields else []


def check_same_sweep(sweep_store: SweepStore, sweep: SweepConfig) -> None:
    """Refuse to resume a sweep with other settings, or a sweep of an earlier version that computed differently.

    Raises:
        SweepMismatchError: the settings or the version differ; the message shows the difference.
    """
    results = SweepResults(sweep_store)
    earlier, sweep_id = results.sessions(), results.sweep_id
    if not earlier:
        return
    # Settings that were not given had the defaults of the version that ran them; older rows lack a newer field.
    zero_shot = [row for row in results.trials() if row.settings["method"] == "zero_shot"]
    if any(row.settings["numerics"] is None for row in zero_shot):
        raise SweepMismatchError(
            f"sweep {sweep_id} was begun by an earlier version, whose trials computed differently (numerics=exact); give "
            "this one a name of its own with --sweep-id"
        )
    then, now = (_compared(each, sweep.permissions) for each in (earlier[-1].config, sweep))
    different = [f"{key}: {then[key]!r} then, {now[key]!r} now" for key in now if then.get(key) != now[key]]
    if different:
        raise SweepMismatchError(
            f"sweep {sweep_id} began with other settings:\n  " + "\n  ".join(different) + "\n"
            "Give this one a name of its own with --sweep-id, or leave --sweep-id out."
        )


def _compared(sweep: SweepConfig, permissions: Collection[str]) -> dict[str, Any]:
    """Return a sweep's identity without its permissions, which change no result and which later versions may add."""
    found = sweep.identity

    def rest(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name not in permissions}

    cases = {name: rest(fields) for name, fields in found["cases"].items()}
    return {**rest(found), "trial": rest(found["trial"]), "cases": cases}


def check_same_space(sweep_store: SweepStore, domains: Mapping[str, BaseDistribution]) -> None:
    """Refuse to resume a sweep with another search space, for example after its function was edited.

    Nothing is checked for sweeps of versions that stored no domains with their sessions.

    Raises:
        SweepMismatchError: the spaces differ; the message shows the difference.
    """
    sessions, sweep_id = SweepResults(sweep_store).sessions(), sweep_store.sweep_id
    kept = [session.domains_json for session in sessions if session.domains_json is not None]
    if not kept:
        return
    then, now = domains_from_json(kept[-1]), dict(domains)
    different = [
        f"{field}: {then.get(field, 'not searched')} then, {now.get(field, 'not searched')} now"
        for field in sorted(then.keys() | now.keys())
        if then.get(field) != now.get(field)
    ]
    if different:
        raise SweepMismatchError(
            f"sweep {sweep_id} began with another space:\n  " + "\n  ".join(different) + "\n"
            "Give this one a name of its own with --sweep-id, or restore the former space."
        )


def check_same_teachers(sweep_store: SweepStore, inputs: TrialInputs) -> None:
    """Refuse to resume a sweep with another teacher, for example after the teacher's file was overwritten.

    Raises:
        SweepMismatchError: a teacher's weights have changed; the message shows both checksums.
    """
    earlier = {row.config.teacher_key: row.teacher_sha256 for row in SweepResults(sweep_store).trials()}
    for key, teacher in inputs.teachers.items():
        now = teacher.metadata
        then = earlier.get(key, now.sha256)
        if then != now.sha256:
            raise SweepMismatchError(
                f"sweep {sweep_store.sweep_id} began with another teacher {now.network} (sha256 {then} then, {now.sha256} "
                "now); give this one a name of its own with --sweep-id"
            )


def check_checkpoints(sweep_store: SweepStore, study: optuna.Study, *, say: Callable[[str], None]) -> None:
    """Refuse a session whose running trials cannot be resumed, since they would fail one after the other.

    Only one trial's checkpoint is read, since all of them have the format of the same version.

    Raises:
        CheckpointError: this version cannot read the checkpoint.
    """
    for trial in running_trials(study)[:1]:
        checkpoints = CheckpointStore(sweep_store.checkpoints)
        checkpoints.load_newest(layout.trial_name(trial.number), warn=say)


def check_first_report(sweep: SweepConfig, trial_id: str, report: Mapping[str, Any]) -> None:
    """Refuse to continue if a trial's first report lacks a metric that the search needs.

    Later reports would lack the metric, too. Metrics that are only measured at a trial's end are not checked.

    Raises:
        ConfigError: a metric is missing; the message includes the metric's description, which says when it is null.
    """
    if sweep.cases or report["diverged"]:
        return
    for metric in METRICS:
        if metric.name in sweep.selects_on and not metric.at_end and report[metric.name] is None:
            use = "optimised" if metric.name in sweep.directions else "constrained"
            raise ConfigError(
                f"{metric.name} is {use}, and the first report of {trial_id} is without it. {metric.description} Choose "
                "another metric, or settings under which every trial measures this one"
            )


def check_shared_storage(sweep: SweepConfig, *, hosts: int) -> None:
    """Refuse a plain path as the storage of a cluster with several machines, since each has its own folder of that name.

    An address with ``file://`` is accepted: the user states by it that all machines share the folder.

    Raises:
        ConfigError: the storage is a plain path, and there may be several machines.
    """
    if hosts > 1 and not sweep.storage.address.scheme:
        raise ConfigError(
            f"storage={sweep.storage} is a folder of this machine, and the cluster may have {hosts} machines: use "
            "--storage s3://BUCKET/PREFIX or gs://..., or file:///FOLDER for a folder that all machines mount"
        )


def check_precision_here(sweep: SweepConfig, domains: Mapping[str, BaseDistribution], *, hosts: int) -> None:
    """Refuse a precision that the session's only machine merely emulates, before anything is trained.

    With several machines, or with GPUs, nothing is checked here: each trial checks the machine on which it runs.

    Raises:
        PrecisionError: a trial has such a precision, or a search may propose it.
    """
    if hosts > 1 or sweep.gpus_per_trial:
        return
    for config in proposed_configs(sweep, domains):
        check_precision(config, torch.device("cpu"))


def check_countable(sweep: SweepConfig, machines: Iterable[Machine], prices: PriceList) -> None:
    """Refuse a spending limit that cannot be enforced.

    Raises:
        ConfigError: GPU hours are limited but trials use no GPU, or USD are limited but a machine has no price.
    """
    budget = sweep.budget
    if budget is None:
        return
    if budget.gpu_hours is not None and not sweep.gpus_per_trial:
        raise ConfigError("budget: {gpu_hours: ...}: these trials take no GPU; use usd, or --gpus")
    unknown = sorted({str(machine) for machine in machines if prices.hour(machine) is None})
    if budget.usd is not None and unknown:
        raise ConfigError(
            f"budget: {{usd: ...}}: no price is known of {', '.join(unknown)}; write a file with machines: {{NAME: "
            "{on_demand: ...}} and name it as prices:, or limit gpu_hours"
        )
