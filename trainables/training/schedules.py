"""Learning-rate schedules as functions of the step, so that no schedule has a state to save."""

from __future__ import annotations

import math
from collections.abc import Sequence


def cosine(initial: float, step: int, total: int) -> float:
    """Anneal by a cosine from ``initial`` at step 0 to 0 at step ``total`` (section 2.3).

    The authors' runs on PyTorch 1.0 lag one step behind (their first scheduler step was a no-op); with 80,000 steps
    the two differ by at most 2e-5 of the initial rate.
    """
    return initial * (1 + math.cos(math.pi * step / total)) / 2


def step_decay(initial: float, epoch: int, milestones: Sequence[int]) -> float:
    """Multiply ``initial`` by 0.2 at each milestone (section 3.1); ``epoch`` counts from 0.

    As published, a decay acts one epoch after its milestone: with 200 epochs from epochs 61, 121 and 161 on.
    """
    return float(initial * 0.2 ** sum(epoch > milestone for milestone in milestones))


_RISE = 0.2
"""Share of the steps in which ``one_cycle`` rises."""


def one_cycle(initial: float, step: int, total: int) -> float:
    """Rise linearly over the first fifth of ``total`` steps, then fall to 0 by a cosine (Smith & Topin, 2019).

    ``initial`` is the peak. Each step has the rate at its end, so the first step's rate is above 0.
    """
    top = max(1.0, _RISE * total)
    if step + 1 <= top:
        return initial * (step + 1) / top
    return initial * (1 + math.cos(math.pi * (step + 1 - top) / max(1.0, total + 1 - top))) / 2


def milestones(initial: float, step: int, total: int) -> float:
    """Return ``initial``, times 0.1 from 60 %, times 0.01 from 80 % and times 0.001 from 90 % of ``total`` steps on."""
    return float(initial * 0.1 ** sum(10 * step >= tenths * total for tenths in (6, 8, 9)))


def constant(initial: float, step: int, total: int) -> float:
    """Return ``initial`` at every step."""
    return initial
