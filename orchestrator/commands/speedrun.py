"""The work of ``zskt speedrun``: run a row of a record table as a sweep of one case with the row's seeds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from orchestrator.analysis.cases import read_cases
from orchestrator.config import Assignment, SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.config.messages import config_error
from orchestrator.config.sweep import trial_model
from orchestrator.errors import ConfigError
from orchestrator.results import SweepResults, TrialRecord, TrialState
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.speedrun.rows import Row, Run
from orchestrator.speedrun.tracks import Track, recipe_fields, recipe_names
from orchestrator.storage import SweepStore, open_storage
from orchestrator.version import code_version

_CASE = "row"


@dataclass(frozen=True, kw_only=True)
class RowRun:
    """The outcome of running a row."""

    sweep_id: str
    row: Row | None
    """The finished row; None if the session was interrupted or no seed completed."""

    unsuccessful: str
    """Description of the seeds that diverged or failed."""


def recipe_of(preset_or_file: str) -> dict[str, Any]:
    """Return the one recipe of a sweep: that of its cases, which must agree, or of a search with a single trial.

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
    """Return the sweep that runs a recipe on a track. Each trial is measured once, at its end.

    Args:
        track: Track, which fixes images, teacher and student.
        recipe: Fields of the trial.
        seeds: Seeds, with one run each.
        teacher: Path or address of the teacher's file.
        changes: Further fields of the sweep.

    Raises:
        ConfigError: the recipe cannot run on the track, sets a field that the track fixes, or learns from real images.
    """
    model = trial_model(recipe, f"track {track.name}")
    foreign = sorted(recipe.keys() - set(recipe_names(model)))
    if foreign:
        raise ConfigError(f"track {track.name}: a recipe cannot set {', '.join(foreign)}: the track fixes it")
    trial = {**recipe, **track.trial, "teacher_checkpoint": teacher, "validation_fraction": 0}
    sweep = _one_case(track, trial, seeds, changes)
    config = sweep.configs()[0]
    if config.learns_from_images:
        raise ConfigError(f"method={config.method} learns from real images, which the rules do not allow")
    return _one_case(track, {**trial, "evaluation_interval": config.budget}, seeds, changes)


def _one_case(track: Track, trial: dict[str, Any], seeds: Sequence[int], changes: dict[str, Any]) -> SweepConfig:
    try:
        return SweepConfig.model_validate(
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


def run_row(
    sweep: SweepConfig,
    *,
    track: Track,
    name: str,
    by: str,
    recipe: dict[str, Any],
    anew: bool = False,
    backend: BackendChoice | None = None,
    console: Console | None = None,
) -> RowRun:
    """Run the missing seeds of a row's sweep, and make the row from all runs.

    Args:
        sweep: The sweep, from ``row_sweep``.
        track: The track.
        name: Name of the row.
        by: Author of the row.
        recipe: Fields of the trial.
        anew: Whether to ignore runs of the row that have ended: a verification is a sweep of its own, which can be resumed.
        backend: See ``run_sweep``.
        console: See ``run_sweep``.

    Raises:
        ConfigError: see ``run_sweep``, which lists further errors.
    """
    sweep_id = _verification_id(sweep) if anew else sweep.default_sweep_id
    finished = run_sweep(sweep, sweep_id=sweep_id, backend=backend, console=console).finished
    results = read_cases(SweepStore(open_storage(sweep.storage), sweep_id), sweep)
    ended = [
        _run_of(seed, results.rows[Assignment(case=_CASE, seed=seed)])
        for seed in sweep.seeds
        if Assignment(case=_CASE, seed=seed) in results.rows
    ]
    unsuccessful = results.unsuccessful(_CASE)
    if not finished or not ended:
        return RowRun(sweep_id=sweep_id, row=None, unsuccessful=unsuccessful)
    row = Row(track=track.name, name=name, by=by, recipe=recipe, runs=tuple(ended), unsuccessful=unsuccessful)
    return RowRun(sweep_id=sweep_id, row=row, unsuccessful=unsuccessful)


def _verification_id(sweep: SweepConfig) -> str:
    """Return the id of the verification in progress, or of a new one: the first whose seeds have not all completed."""
    storage = open_storage(sweep.storage)
    for number in itertools.count(1):
        sweep_id = f"{sweep.default_sweep_id}-verified-{number}"
        ended = [
            row for row in SweepResults(SweepStore(storage, sweep_id)).trials() if row.state is TrialState.COMPLETED
        ]
        if len(ended) < len(sweep.seeds):
            return sweep_id
    raise AssertionError("there is no last number")


def _run_of(seed: int, row: TrialRecord) -> Run:
    return Run(
        seed=seed,
        test_accuracy=row.metrics["test_accuracy"],
        operations=row.metrics["training_flops"],
        gpu_seconds=row.gpu_seconds if row.device == "cuda" else None,
        device=row.device_name or row.device or "unknown",
        version=code_version(),
    )
