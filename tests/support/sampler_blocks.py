"""Blocks of settings of samplers, for tests that go over several of them."""

from __future__ import annotations

from typing import Any

from orchestrator.samplers.registry import SAMPLERS


def sampler_block(name: str, *, startup_trials: int = 3, **fields: Any) -> dict[str, Any]:
    """A block with so many random trials at the beginning, where the sampler has them."""
    startup = {"startup_trials": startup_trials} if "startup_trials" in SAMPLERS.kinds[name].model_fields else {}
    return {"name": name, **startup, **fields}
