"""Interface between a trial's process and the driver: place, allocation, keys of configs and results. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.config import AnyTrialConfig, config_class
from trainables.system.clock import SYSTEM_CLOCK, Clock

DONE = "done"
"""Key of a result: whether this is the trial's last result. The name is Tune's."""

NOTES = "notes"
"""Key of a result: notes of the trial to the user, a list of sentences."""

MACHINE_NOTES = "machine_notes"
"""Key of a result: notes about the machine, not the trial, which are shown once for each machine."""

FAILURE = "failure"
"""Key of a result: reason for which the trial has failed permanently, as ``Kind: message``."""

OUT_OF_MEMORY = "out_of_memory"
"""Key of a result with a ``FAILURE``: whether the reason is too little memory in the trial's share of a GPU."""

DEVICE_NAME = "device_name"
"""Key of a result and of a checkpoint: name of the GPU or CPU that computed it."""

ALLOCATION = "allocation"
"""Key of a result: share of a node that the trial's process has, as the fields of ``Allocation``."""

GPUS = "gpus"
"""Key of a trial's config: share of a GPU, if it differs from that of the sweep's other trials."""

NOT_SETTINGS = frozenset({"trial_id", "case", GPUS})
"""Keys of a trial's config that are not fields of its method's config."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Place where a trial's process runs: its share of a machine, and the state of that machine."""

    cpus: float = 1.0
    """Number of CPU cores reserved for the process."""

    gpus: float = 0.0
    """Number of GPUs reserved for the process."""

    node_id: str = ""
    """Ray's id of the node; empty without Ray."""

    leaving: Callable[[], bool] = lambda: False
    """Function that returns whether this machine is about to be preempted."""

    draining: Callable[[], bool] = lambda: False
    """Function that returns whether the trial would be placed on another node if its process ended."""

    leave: Callable[[], None] = lambda: None
    """Function that ends this process; called when the trial is saved and the machine is draining."""

    clock: Clock = SYSTEM_CLOCK
    """Clock for the trial's times and for the checkpoint interval."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """Share of a node that is reserved for a trial's process, and the number of seconds so far."""

    node_id: str
    """Ray's id of the node; empty without Ray."""

    cpus: float
    gpus: float
    seconds: float


def trial_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the method's config in a trial's config, without the keys that only name or place the trial."""
    return {name: value for name, value in config.items() if name not in NOT_SETTINGS}


def parse_settings(config: Mapping[str, Any]) -> AnyTrialConfig:
    """Return the validated config of a trial, of the class that belongs to its ``method``.

    Raises:
        ValueError: there is no such method, or a field is not valid.
    """
    settings = trial_settings(config)
    return config_class(settings).model_validate(settings)
