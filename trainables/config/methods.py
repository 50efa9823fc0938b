"""Methods by which a student can be trained, each a pair of a config class and a training class.

A new method of this project needs these two classes and a line in ``METHODS``. A user's method is a ``Method`` object in a
file, ``method: FILE.py:NAME``, or in an installed package, by an entry point in the group ``zskt.methods``.
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
    """Config class and training class of a method: each a class, or ``MODULE:NAME``, which is imported on use.

    The training imports torch, which code that only reads configs and results does not need.
    """

    config: str | type[TrialConfig]
    """Subclass of ``TrialConfig``. In a module of its own it can be read without importing torch."""

    training: str | type[Any]
    """Subclass of ``trainables.training.protocol.Training``."""

    @property
    def config_class(self) -> type[TrialConfig]:
        """The config class, imported if necessary."""
        model: type[TrialConfig] = load(self.config) if isinstance(self.config, str) else self.config
        return model

    @property
    def training_class(self) -> type[Any]:
        """The training class, imported if necessary."""
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
"""Methods from files and installed packages, each a ``Method``."""


class AbsentConfig(TrialConfig):
    """Stand-in for the config of a stored trial whose method, or whose data set, is no longer available.

    A stand-in has all settings of the trial, a budget of 1, and None for every setting that was left out.
    """

    model_config = ConfigDict(extra="allow")

    unit: ClassVar[str] = "student_updates"

    @property
    def budget(self) -> int:
        return 1

    @property
    def passes_per_step(self) -> Passes:
        raise ValueError(f"method={self.method} is not available here, so the cost of a training step is not known")

    def scaled(self, fraction: float) -> Self:
        return self

    if not TYPE_CHECKING:  # hidden from mypy, which would otherwise accept misspelt names

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                if name.startswith("_"):
                    raise
                return None


def config_classes() -> list[type[TrialConfig]]:
    """Return the config class of each of this project's methods."""
    return [method.config_class for method in METHODS.values()]


def methods_with(able: Callable[[type[TrialConfig]], bool]) -> str:
    """Return the names of this project's methods whose config class meets a condition: ``zero_shot or supervised``."""
    return " or ".join(name for name, method in METHODS.items() if able(method.config_class))


def find_method(name: object) -> Method:
    """Return the method with a name.

    Raises:
        ValueError: no method has that name, or the object in the file or package is not a ``Method``.
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
    """Return the config class of the method ``values["method"]``, by default ``zero_shot``.

    Args:
        values: Fields of a trial.
        stored: Whether the trial has already run: then ``AbsentConfig`` stands for a method that is not available.

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
    """Return a stored trial's config, or a stand-in if its budget depends on a data set that is no longer available."""
    try:
        _ = config.budget
    except (ValueError, DatasetError):
        return AbsentConfig.model_construct(**dict(config))
    return config
