"""What a trial's process and the driver tell each other: where it runs, and keys of configs and results. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.config import AnyTrialConfig, config_class
from trainables.system.clock import SYSTEM_CLOCK, Clock

DONE = "done"
"""Key of a result that says whether it is the trial's last one. Tune's word."""

NOTES = "notes"
"""Key of a result under which a trial says what the user should know, as a list of sentences."""

MACHINE_NOTES = "machine_notes"
"""Key of a result for notes about the machine and not the trial: worth saying once for each machine."""

FAILURE = "failure"
"""Key of a result that says why the trial has failed for good, as ``Kind: message``."""

OUT_OF_MEMORY = "out_of_memory"
"""Key of a result with a ``FAILURE``: whether it is that the trial's share of a GPU has too little memory."""

DEVICE_NAME = "device_name"
"""Key of a result, and of a trial's checkpoint, under which the GPU or CPU is named that made it."""

ALLOCATION = "allocation"
"""Key of a result under which a trial's process says which share of a node it has, as the fields of ``Allocation``."""

GPUS = "gpus"
"""Key of a trial's config under which it has another share of a GPU than the sweep's other trials."""

NOT_SETTINGS = frozenset({"trial_id", "case", GPUS})
"""Keys of a trial's config that are no fields of its method's config."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a trial's process runs: its share of a machine, and what becomes of that machine."""

    cpus: float = 1.0
    """CPU cores that were set aside."""

    gpus: float = 0.0
    """GPUs that were set aside."""

    node_id: str = ""
    """Ray's id of the node; empty without Ray."""

    leaving: Callable[[], bool] = lambda: False
    """Whether this machine is about to be taken away."""

    draining: Callable[[], bool] = lambda: False
    """Whether the trial would be placed elsewhere if its process ended."""

    leave: Callable[[], None] = lambda: None
    """Ends this process, once the trial is saved and the machine drained."""

    clock: Clock = SYSTEM_CLOCK
    """By which the trial is timed, and knows when a checkpoint is due."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """Says which share of a node was set aside for a trial's process, and for how many seconds so far."""

    node_id: str
    """Ray's id of the node; empty without Ray."""

    cpus: float
    gpus: float
    seconds: float


def trial_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the method's config that a trial's config holds, without what only names or places the trial."""
    return {name: value for name, value in config.items() if name not in NOT_SETTINGS}


def parse_settings(config: Mapping[str, Any]) -> AnyTrialConfig:
    """Return the config of the method that a trial's config names.

    Raises:
        ValueError: there is no such method, or a field is wrong.
    """
    settings = trial_settings(config)
    return config_class(settings).model_validate(settings)
