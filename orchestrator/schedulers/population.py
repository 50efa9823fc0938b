"""The generations of population-based training: who takes over from whom, and with which settings.

A member of the population is not one trial whose settings change under it but a chain of trials, one for each
generation, each of which begins with the state in which a trial of the generation before has ended. So a row tells the
settings that were used, a lost process costs no more than any trial's, and what comes next follows from the study alone:
the next generation waits for the whole of the one before, and does not depend on which trial ended first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from orchestrator.samplers.independent import IndependentSampler
from trainables.config import AnyTrialConfig
from trainables.config.base import derive_seed

_STEPS = (0.8, 1.25)
"""Factors by which a number is explored."""

_REDRAWN = 0.25
"""Probability that a value is drawn anew from its whole domain instead."""


@dataclass(frozen=True, kw_only=True)
class Succession:
    """From whom a trial takes over; ``changes`` says whether its settings are explored or kept."""

    parent: FrozenTrial
    changes: bool


@dataclass(frozen=True, kw_only=True)
class Population:
    """The rule of population-based training; trial ``n`` is member ``n % size`` of generation ``n // size``."""

    size: int
    """Members of a generation."""

    generations: int
    quantile: float
    """Share of a generation that is replaced, and share that it is replaced from."""

    smoothing: int
    """Trials are ranked by the mean of so many last reports."""

    seed: int
    mode: str
    trial_name: Callable[[int], str]
    """The id of a trial, by its number."""

    def is_ready(self, number: int, trials: Sequence[FrozenTrial]) -> bool:
        """Whether the generation before that of trial ``number`` has ended; see ``PopulationRule``."""
        return all(trial.state.is_finished() for trial in self._generation_before(number, trials))

    def succession(self, number: int, trials: Sequence[FrozenTrial]) -> Succession | None:
        """Whose state trial ``number`` begins with; none in the first generation, or if all of the last one failed.

        A member goes on with its own settings unless it failed or is among the worst of its generation. Then it takes over
        from one of the best, with explored settings.
        """
        scores = {
            trial.number % self.size: score
            for trial in self._generation_before(number, trials)
            if (score := self._score(trial)) is not None
        }
        if not scores:
            return None
        member, generation = number % self.size, number // self.size
        ranked = sorted(scores, key=lambda other: (-scores[other], other))
        few = max(1, int(self.quantile * self.size))
        worst = set(ranked[max(1, len(ranked) - few) :]) | (set(range(self.size)) - scores.keys())
        origin = member
        if member in worst:
            draw = derive_seed(self.seed, f"donor of trial {number}")
            origin = ranked[: min(few, len(ranked))][draw % min(few, len(ranked))]
        return Succession(parent=trials[(generation - 1) * self.size + origin], changes=member in worst)

    def sampler(self, number: int, trials: Sequence[FrozenTrial]) -> SuccessionSampler | None:
        """See ``PopulationRule``: the first generation's settings are proposed by the sweep's own sampler."""
        found = self.succession(number, trials)
        return SuccessionSampler(found, derive_seed(self.seed, f"settings of trial {number}")) if found else None

    def config(self, number: int, whole: AnyTrialConfig, trials: Sequence[FrozenTrial]) -> AnyTrialConfig:
        """Its generation's part of a trial's whole budget, at the whole budget's learning rates."""
        generation = number // self.size
        found = self.succession(number, trials)
        return whole.part(
            round(whole.budget * (generation + 1) / self.generations),
            takes_over_from=self.trial_name(found.parent.number) if found else None,
        )

    def _generation_before(self, number: int, trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
        first = number // self.size * self.size
        return trials[max(0, first - self.size) : first]

    def _score(self, trial: FrozenTrial) -> float | None:
        """Mean of the last few reports, larger is better; none of a trial that failed."""
        reports = trial.intermediate_values
        if trial.state is TrialState.FAIL or not reports:
            return None
        last = [reports[place] for place in sorted(reports)[-self.smoothing :]]
        return float(np.mean(last)) if self.mode == "max" else -float(np.mean(last))


class SuccessionSampler(IndependentSampler):
    """Proposes the settings of a trial that takes over from another."""

    def __init__(self, succession: Succession, seed: int) -> None:
        self._succession = succession
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed % 2**32)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The parent's value, kept or explored; a random one where the parent had none."""
        inherited: Mapping[str, Any] = self._succession.parent.params
        known = param_name in inherited
        if known and not self._succession.changes:
            return inherited[param_name]
        redrawn = not known or isinstance(param_distribution, CategoricalDistribution) or self._rng.random() < _REDRAWN
        if redrawn:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        return explored(inherited[param_name], param_distribution, float(self._rng.choice(_STEPS)))


def explored(value: float, domain: BaseDistribution, factor: float) -> float:
    """A number times a factor, moved into its domain; a whole number moves by one at least, where there is room."""
    match domain:
        case IntDistribution():
            moved = value * factor
            whole = math.floor(moved) if factor < 1 else math.ceil(moved)
            return domain.low + (min(max(whole, domain.low), domain.high) - domain.low) // domain.step * domain.step
        case FloatDistribution():
            return min(max(value * factor, domain.low), domain.high)
    raise TypeError(f"{domain} holds no numbers")
