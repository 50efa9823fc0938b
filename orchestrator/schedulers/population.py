"""The generations of population-based training: from which trial each trial takes over, and with which settings.

A member of the population is not one trial whose settings change, but a chain of trials, one for each generation. Each of
them starts from the final state of a trial of the previous generation. So a result row has the settings that were used, and
a lost process costs no more than in any other trial. The next trials follow from the study alone: a generation waits until
the whole previous generation has ended, whatever the order in which its trials ended.
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
"""Factors, one of which is drawn to change a numeric setting."""

_REDRAWN = 0.25
"""Probability that a numeric setting is instead drawn anew from its whole domain."""


@dataclass(frozen=True, kw_only=True)
class Succession:
    """The parent, from which a trial takes over; ``changes`` is true if the parent's settings are explored, not kept."""

    parent: FrozenTrial
    changes: bool


@dataclass(frozen=True, kw_only=True)
class Population:
    """The rule of population-based training; trial ``n`` is member ``n % size`` of generation ``n // size``."""

    size: int
    """Number of members of a generation."""

    generations: int
    quantile: float
    """Share of a generation that is replaced, and share of best members that replace them."""

    smoothing: int
    """Number of last reports whose mean ranks a trial."""

    seed: int
    mode: str
    trial_name: Callable[[int], str]
    """Function that returns the id of a trial for its number."""

    def is_ready(self, number: int, trials: Sequence[FrozenTrial]) -> bool:
        """Return whether the generation before the one of trial ``number`` has ended; see ``PopulationRule``."""
        return all(trial.state.is_finished() for trial in self._generation_before(number, trials))

    def succession(self, number: int, trials: Sequence[FrozenTrial]) -> Succession | None:
        """Return the parent of trial ``number``; None in the first generation, or if all of the previous one failed.

        A member keeps its own state and settings unless it failed or is among the worst of its generation. In these cases
        it takes over from one of the best members, with explored settings.
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
        """See ``PopulationRule``. The first generation's settings are proposed by the sweep's own sampler."""
        found = self.succession(number, trials)
        return SuccessionSampler(found, derive_seed(self.seed, f"settings of trial {number}")) if found else None

    def config(self, number: int, whole: AnyTrialConfig, trials: Sequence[FrozenTrial]) -> AnyTrialConfig:
        """Return the config of a trial: its generation's part of ``whole``, at the learning rates of the whole budget."""
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
        """Return the mean of a trial's last reports, larger is better; None if it failed or has no reports."""
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
        """Return the parent's value, kept or explored, or a random value if the parent had none."""
        inherited: Mapping[str, Any] = self._succession.parent.params
        known = param_name in inherited
        if known and not self._succession.changes:
            return inherited[param_name]
        redrawn = not known or isinstance(param_distribution, CategoricalDistribution) or self._rng.random() < _REDRAWN
        if redrawn:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        return explored(inherited[param_name], param_distribution, float(self._rng.choice(_STEPS)))


def explored(value: float, domain: BaseDistribution, factor: float) -> float:
    """Return a number times a factor, clipped to its domain.

    An integer moves by at least 1 where the domain has room, and is then rounded down to the domain's step.

    Raises:
        TypeError: the domain holds no numbers.
    """
    match domain:
        case IntDistribution():
            moved = value * factor
            whole = math.floor(moved) if factor < 1 else math.ceil(moved)
            return domain.low + (min(max(whole, domain.low), domain.high) - domain.low) // domain.step * domain.step
        case FloatDistribution():
            return min(max(value * factor, domain.low), domain.high)
    raise TypeError(f"{domain} holds no numbers")
