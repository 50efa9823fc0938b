"""What trials have cost in earlier sweeps, for ``zskt plan``: the best estimate of what such a trial will cost again."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.results import Row, read_trials
from orchestrator.results.schema import CONFIG_PREFIX
from trainables.config import AnyTrialConfig, ZeroShotConfig
from trainables.flops import pseudo_batch_flops
from trainables.object_store import ObjectStore

_SAME = (
    *("method", "dataset", "teacher", "student", "batch_size", "generator_width", "validation_fraction"),
    *("transition_images", "numerics", "precision"),
)
"""Fields on which the time for a given amount of work depends; others change the amount."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """Ended trials of the same kind, each with what its work took."""

    trials: int
    machines: Sequence[str]
    """Types on which they ran."""

    seconds: float
    """For the work of the planned trial: the median's."""

    gpu_hours: float
    usd: tuple[float, float] | None
    """The cheapest and the dearest of them; none where no price was known."""


def earlier_trials(store: ObjectStore, config: AnyTrialConfig, *, on_gpu: bool) -> Earlier | None:
    """What such a trial took in the sweeps of a storage; none if there was none.

    Args:
        store: Where earlier sweeps are.
        config: The planned trial.
        on_gpu: Whether it is to run on a GPU; trials on the other device say nothing.
    """
    rows = [row for row in read_trials(store).to_pylist() if _is_like(row, config, on_gpu=on_gpu)]
    if not rows:
        return None
    work = _work(config)
    factors = [work / _work_done(row) for row in rows]
    paid = [factor * row["cost_usd"] for factor, row in zip(factors, rows, strict=True) if row["cost_usd"] is not None]
    seconds = [f * (row["training_seconds"] + row["evaluation_seconds"]) for f, row in zip(factors, rows, strict=True)]
    gpu_seconds = [f * (row["gpu_seconds"] or 0.0) for f, row in zip(factors, rows, strict=True)]
    return Earlier(
        trials=len(rows),
        machines=sorted({row["node_type"] for row in rows if row["node_type"]}),
        seconds=statistics.median(seconds),
        gpu_hours=statistics.median(gpu_seconds) / 3600,
        usd=(min(paid), max(paid)) if paid else None,
    )


def _is_like(row: Row, config: AnyTrialConfig, *, on_gpu: bool) -> bool:
    wanted = config.model_dump()
    same = all(row[CONFIG_PREFIX + field] == wanted[field] for field in _SAME if field in wanted)
    ended_well = row["state"] in {"completed", "stopped_early"} and bool(_work_done(row))
    return same and ended_well and (row["device"] == "cuda") == on_gpu


def _work(config: AnyTrialConfig) -> float:
    if isinstance(config, ZeroShotConfig):
        return float(config.budget * pseudo_batch_flops(config))
    return float(config.budget)


def _work_done(row: Row) -> float:
    """In the unit of ``_work``; 0 where it was not recorded."""
    return float(row["training_flops" if row[CONFIG_PREFIX + "method"] == "zero_shot" else "epochs"] or 0)
