"""The methods by which a student can be trained: each one's config, by the value of its field ``method``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.config.supervised import SupervisedConfig
from trainables.config.zero_shot import ZeroShotConfig

AnyTrialConfig = ZeroShotConfig | SupervisedConfig

CONFIGS: dict[str, type[ZeroShotConfig] | type[SupervisedConfig]] = {
    "zero_shot": ZeroShotConfig,
    "supervised": SupervisedConfig,
}
"""The config of each method, by the value of its field ``method``."""


def config_class(values: Mapping[str, Any]) -> type[ZeroShotConfig] | type[SupervisedConfig]:
    """The config class that ``values["method"]`` names; zero-shot if it is not there.

    Raises:
        ValueError: there is no such method.
    """
    method = values.get("method", "zero_shot")
    if method not in CONFIGS:
        raise ValueError(f"method={method}: unknown; allowed: {', '.join(CONFIGS)}")
    return CONFIGS[method]
