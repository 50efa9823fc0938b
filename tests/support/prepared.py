"""The Trainable with inputs that need no storage."""

from __future__ import annotations

from typing import Any

from tests.support.tiny import make_inputs
from trainables.ray_trainables import TrialTrainable
from trainables.trial_result import parse_settings


class Prepared(TrialTrainable):
    """As ``tune.with_parameters`` makes it."""

    def setup(self, config: dict[str, Any], **_: Any) -> None:  # type: ignore[override]
        super().setup(config, inputs=make_inputs(parse_settings(config)), checkpoint_seconds=0)
