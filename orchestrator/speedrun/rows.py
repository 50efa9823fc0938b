"""Rows of a track: recipes with their runs, and the rule by which a row counts."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from orchestrator.analysis.paired import CONFIDENCE, t_quantile
from orchestrator.config.messages import config_error
from orchestrator.errors import ConfigError
from orchestrator.speedrun.tracks import Track, find_track
from trainables.config import Config, Count, Seed

SEEDS_NEEDED = 5
"""Minimum number of seeds for a row to count."""

LEVEL = 0.01
"""Significance level: a row counts if the one-sided p-value of its mean lying above the target is below this level."""

_RECORDS = Path(__file__).parent / "records"


class Run(Config):
    """The run of one seed of a row."""

    seed: Seed
    test_accuracy: Annotated[float, Field(ge=0, le=1)]
    """Test accuracy of the last iterate."""

    operations: Annotated[float, Field(gt=0)]
    """FLOPs of training by this project's counter: synthesis, the teacher's forward passes and the student's training."""

    gpu_seconds: Annotated[float, Field(ge=0)] | None = None
    """Seconds for which the run held a GPU, evaluation included; half a GPU counts half. None for a run on a CPU."""

    device: str
    """Name of the GPU or processor, as its maker gives it."""

    version: str
    """Version and commit of this program that wrote the row."""


class Row(Config):
    """A recipe on a track, with its runs."""

    track: str
    name: str
    by: str
    recipe: dict[str, Any]
    """Fields of the trial that the recipe sets: the method, its settings and its length."""

    runs: Annotated[tuple[Run, ...], Field(min_length=1)]

    unsuccessful: str = ""
    """Description of further seeds that diverged or failed; if it is not empty, the row does not count."""

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        seeds = [run.seed for run in self.runs]
        doubled = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if doubled:
            raise ValueError(f"runs: seed {doubled[0]} occurs more than once")
        return self

    @property
    def judgement(self) -> Judgement:
        """Statistics of the row's accuracies, and whether the row counts."""
        found = judge([run.test_accuracy for run in self.runs], find_track(self.track))
        if not self.unsuccessful:
            return found
        return found.model_copy(update={"counts": False, "why_not": self.unsuccessful})

    @property
    def operations(self) -> float:
        """Mean operations of the row's runs, in FLOPs."""
        return statistics.fmean(run.operations for run in self.runs)

    def to_yaml(self) -> str:
        """Return the text of the row's YAML file."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        return text


class Judgement(Config):
    """Statistics of the test accuracies of a row's runs, and whether the row counts."""

    seeds: Count
    mean: float
    low: float
    """Lower end of the mean's 95 % interval, by Student's t; nan with one seed."""
    high: float
    p_value: float
    """One-sided p-value of the hypothesis that the mean is at most the target; nan with one seed."""
    counts: bool
    why_not: str = ""


def judge(accuracies: list[float], track: Track) -> Judgement:
    """Judge whether runs with these test accuracies, one for each seed, reach a track's target."""
    from scipy.special import stdtr  # imported late, since it is slow to import

    seeds, mean = len(accuracies), statistics.fmean(accuracies)
    low = high = p_value = math.nan
    if seeds > 1:
        error = statistics.stdev(accuracies) / math.sqrt(seeds)
        half = t_quantile(seeds - 1, CONFIDENCE) * error
        low, high = mean - half, mean + half
        above = mean - track.target
        p_value = float(stdtr(seeds - 1, -above / error)) if error else float(above <= 0)
    why_not = ""
    if seeds < SEEDS_NEEDED:
        missing = SEEDS_NEEDED - seeds
        why_not = f"{missing} more seed{'' if missing == 1 else 's'} needed"
    elif not p_value < LEVEL:
        why_not = f"not surely above {track.target:.2%}: p = {p_value:.3f}, must be below {LEVEL:g}"
    return Judgement(seeds=seeds, mean=mean, low=low, high=high, p_value=p_value, counts=not why_not, why_not=why_not)


def read_row(path: Path) -> Row:
    """Read a row from its file.

    Raises:
        ConfigError: the file cannot be read, or does not hold a row.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected the fields of a row, found {type(content).__name__}")
    try:
        return Row.model_validate(content)
    except ValidationError as error:
        raise config_error(error, Row, str(path)) from error


def records(track: Track) -> list[Row]:
    """Return this project's rows of a track, by operations; rows that count come first."""
    rows = [read_row(path) for path in sorted((_RECORDS / track.name).glob("*.yaml"))]
    return sorted(rows, key=lambda row: (not row.judgement.counts, row.operations))
