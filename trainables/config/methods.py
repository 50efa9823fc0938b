"""The methods by which a student can be trained, each with its config and its training.

A third method is a module with both, or with one of them and the other beside it, and a line of ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.config.plugins import load
from trainables.config.trial import TrialConfig

AnyTrialConfig = TrialConfig
"""The config of a trial of any method."""


@dataclass(frozen=True)
class Method:
    """Where a method is defined, as ``MODULE:NAME``.

    Both are imported on use: a training brings torch, which whoever only reads configs and results can do without.
    """

    config: str
    """A ``TrialConfig``. In a module of its own it costs no torch either."""

    training: str
    """A ``trainables.training.protocol.Training``."""

    @property
    def config_class(self) -> type[TrialConfig]:
        """The config."""
        model: type[TrialConfig] = load(self.config)
        return model


METHODS: dict[str, Method] = {
    "zero_shot": Method(
        "trainables.config.zero_shot:ZeroShotConfig", "trainables.training.distiller:ZeroShotDistiller"
    ),
    "supervised": Method(
        "trainables.config.supervised:SupervisedConfig", "trainables.training.supervised:SupervisedTrainer"
    ),
}
"""The methods, by the value of a config's field ``method``."""


def config_classes() -> list[type[TrialConfig]]:
    """Return the config of each method."""
    return [method.config_class for method in METHODS.values()]


def methods_with(able: Callable[[type[TrialConfig]], bool]) -> str:
    """Return the names of the methods whose config class says yes, for a sentence: ``zero_shot or supervised``."""
    return " or ".join(name for name, method in METHODS.items() if able(method.config_class))


def config_class(values: Mapping[str, Any]) -> type[TrialConfig]:
    """Return the config that ``values["method"]`` names; zero-shot if it is not there.

    Raises:
        ValueError: there is no such method.
    """
    method = values.get("method", "zero_shot")
    if method not in METHODS:
        raise ValueError(f"method={method}: unknown; allowed: {', '.join(METHODS)}")
    return METHODS[method].config_class
