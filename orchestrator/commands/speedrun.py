"""``zskt speedrun``: a row is run, a sweep of one case with the row's seeds on what the track gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from orchestrator.analysis.cases import read_cases
from orchestrator.config import Assignment, SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.config.messages import config_error
from orchestrator.errors import ConfigError
from orchestrator.results import TrialRecord
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.speedrun.rows import Row, Run
from orchestrator.speedrun.tracks import Track, recipe_fields
from orchestrator.storage import SweepStore, open_storage
from orchestrator.version import code_version

_CASE = "row"


@dataclass(frozen=True, kw_only=True)
class RowRun:
    """What running a row came to."""

    sweep_id: str
    row: Row | None
    """None where the session was interrupted, or no seed came to its end."""

    unsuccessful: str
    """What became of seeds that diverged or failed, in words."""


def recipe_of(preset_or_file: str) -> dict[str, Any]:
    """Return the recipe of a sweep of one case, or of a file with one trial.

    Raises:
        ConfigError: there is no such sweep, or it has several recipes.
    """
    sweep = load_sweep(preset_or_file, flags={"num_trials": None})
    recipes = [recipe_fields(config) for config in sweep.configs()]
    if not all(recipe == recipes[0] for recipe in recipes) or (not sweep.cases and sweep.num_trials > 1):
        raise ConfigError(f"--recipe {preset_or_file}: expected one trial or case, found several")
    return recipes[0]


def row_sweep(
    track: Track, recipe: dict[str, Any], seeds: Sequence[int], *, teacher: str, changes: dict[str, Any]
) -> SweepConfig:
    """Return the sweep that runs a recipe on a track.

    Args:
        track: Gives images, teacher and student.
        recipe: Fields of the trial.
        seeds: One run each.
        teacher: The teacher's file.
        changes: Further fields of the sweep.

    Raises:
        ConfigError: the recipe cannot be run there, or learns from real images.
    """
    trial = {**recipe, **track.trial, "teacher_checkpoint": teacher, "validation_fraction": 0}
    try:
        sweep = SweepConfig.model_validate(
            {
                "name": f"speedrun-{track.name}",
                "description": f"A row of the track {track.name}.",
                "cases": {_CASE: trial},
                "seeds": list(seeds),
                "checkpoint_seconds": 30,
                **changes,
            }
        )
    except ValidationError as error:
        raise config_error(error, SweepConfig, f"track {track.name}") from error
    (config,) = {config.method: config for config in sweep.configs()}.values()
    if config.learns_from_images:
        raise ConfigError(f"method={config.method} learns from real images, which no row may")
    return sweep


def run_row(
    sweep: SweepConfig,
    *,
    track: Track,
    name: str,
    by: str,
    recipe: dict[str, Any],
    backend: BackendChoice | None = None,
    console: Console | None = None,
) -> RowRun:
    """Run what is missing of a row's sweep, and make the row of what is there.

    Args:
        sweep: What ``row_sweep`` gave.
        track: The track.
        name: What to call the row.
        by: Whose it is.
        recipe: Fields of the trial.
        backend: See ``run_sweep``.
        console: Likewise.

    Raises:
        ConfigError, and whatever ``run_sweep`` raises.
    """
    sweep_id = sweep.default_sweep_id
    finished = run_sweep(sweep, sweep_id=sweep_id, backend=backend, console=console).finished
    results = read_cases(SweepStore(open_storage(sweep.storage), sweep_id), sweep)
    ended = [
        _run_of(seed, results.rows[Assignment(case=_CASE, seed=seed)])
        for seed in sweep.seeds
        if Assignment(case=_CASE, seed=seed) in results.rows
    ]
    row = Row(track=track.name, name=name, by=by, recipe=recipe, runs=tuple(ended)) if finished and ended else None
    return RowRun(sweep_id=sweep_id, row=row, unsuccessful=results.unsuccessful(_CASE))


def _run_of(seed: int, row: TrialRecord) -> Run:
    return Run(
        seed=seed,
        test_accuracy=row.metrics["test_accuracy"],
        operations=row.metrics["training_flops"],
        gpu_seconds=row.gpu_seconds if row.device == "cuda" else None,
        device=row.device_name or row.device or "unknown",
        version=code_version(),
    )
