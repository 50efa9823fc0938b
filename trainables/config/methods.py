"""The methods by which a student can be trained, each with its config and its training.

A further method is a module with both, or with one of them and the other beside it, and a line of ``METHODS``. A user's is a
``Method`` in a file, ``method: FILE.py:NAME``, or of an installed package, by an entry point in the group ``zskt.methods``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ConfigDict

from trainables.config.base import Passes
from trainables.config.plugins import Registry, installed, load
from trainables.config.trial import TrialConfig
from trainables.errors import DatasetError
from trainables.system.own_files import file_of

AnyTrialConfig = TrialConfig
"""The config of a trial of any method."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Method:
    """A config and a training: each a class, or ``MODULE:NAME``, which is imported on use.

    A training brings torch, which whoever only reads configs and results can do without.
    """

    config: str | type[TrialConfig]
    """A ``TrialConfig``. In a module of its own it costs no torch either."""

    training: str | type[Any]
    """A ``trainables.training.protocol.Training``."""

    @property
    def config_class(self) -> type[TrialConfig]:
        """The config."""
        model: type[TrialConfig] = load(self.config) if isinstance(self.config, str) else self.config
        return model

    @property
    def training_class(self) -> type[Any]:
        """The training."""
        training: type[Any] = load(self.training) if isinstance(self.training, str) else self.training
        return training


METHODS: dict[str, Method] = {
    "zero_shot": Method(
        "trainables.config.zero_shot:ZeroShotConfig", "trainables.training.distiller:ZeroShotDistiller"
    ),
    "data_free": Method(
        "trainables.config.data_free.config:DataFreeConfig", "trainables.training.data_free.engine:DataFreeDistiller"
    ),
    "supervised": Method(
        "trainables.config.supervised:SupervisedConfig", "trainables.training.supervised:SupervisedTrainer"
    ),
}
"""This project's methods, by the value of a config's field ``method``."""

OTHER_METHODS = Registry(what="method", group="zskt.methods", own={})
"""Methods that are not this project's, each a ``Method``."""


class AbsentConfig(TrialConfig):
    """Stands for the config of a trial that has run, where its method, or the data set that its length hangs on, is gone.

    It has the trial's settings, whatever they are, a budget of 1, and None for a setting that was left out.
    """

    model_config = ConfigDict(extra="allow")

    unit: ClassVar[str] = "student_updates"

    @property
    def budget(self) -> int:
        return 1

    @property
    def passes_per_step(self) -> Passes:
        raise ValueError(f"method={self.method}: it is not at hand, and what a step costs is not known")

    def scaled(self, fraction: float) -> Self:
        return self

    if not TYPE_CHECKING:  # or no misspelt name would be found

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                if name.startswith("_"):
                    raise
                return None


def config_classes() -> list[type[TrialConfig]]:
    """Return the config of each of this project's methods."""
    return [method.config_class for method in METHODS.values()]


def methods_with(able: Callable[[type[TrialConfig]], bool]) -> str:
    """Return the names of the methods whose config class says yes, for a sentence: ``zero_shot or supervised``."""
    return " or ".join(name for name, method in METHODS.items() if able(method.config_class))


def find_method(name: object) -> Method:
    """Return the method of a name.

    Raises:
        ValueError: there is none, or what a file or package has is none.
    """
    if not isinstance(name, str):
        raise ValueError(f"method={name}: unknown; allowed: {', '.join(METHODS)}, or FILE.py:NAME")
    if name in METHODS:
        return METHODS[name]
    others = installed(OTHER_METHODS.group)
    if name not in others and not file_of(name):
        raise ValueError(f"method={name}: unknown; allowed: {', '.join([*METHODS, *sorted(others)])}, or FILE.py:NAME")
    found = OTHER_METHODS.load(name)
    if not isinstance(found, Method):
        raise ValueError(
            f"method {OTHER_METHODS.origin(name)}: expected a trainables.config.methods.Method, found {found!r}"
        )
    return found


def config_class(values: Mapping[str, Any], *, stored: bool = False) -> type[TrialConfig]:
    """Return the config that ``values["method"]`` names; zero-shot if it is not there.

    Args:
        values: Fields of a trial.
        stored: Whether the trial has run: then a method that is not at hand has a stand-in, ``AbsentConfig``.

    Raises:
        ValueError: there is no such method.
    """
    try:
        return find_method(values.get("method", "zero_shot")).config_class
    except ValueError as error:
        if not stored:
            raise
        logger.debug("%s", error)
        return AbsentConfig


def readable(config: TrialConfig) -> TrialConfig:
    """Return the config of a trial that has run, or a stand-in where its length hangs on a data set that is gone."""
    try:
        _ = config.budget
    except (ValueError, DatasetError):
        return AbsentConfig.model_construct(**dict(config))
    return config
