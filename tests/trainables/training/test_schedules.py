from __future__ import annotations

import pytest

from trainables.training.schedules import cosine, step_decay


def test_cosine_gives_the_rate_the_authors_logged() -> None:
    # Logged at pseudo batch 799 of 80,000 by PyTorch 1.0, whose schedules lag one step behind.
    assert cosine(2e-3, 798, 80_000) == pytest.approx(0.0019995090242782487, rel=1e-15)


def test_cosine_runs_from_the_initial_rate_to_zero() -> None:
    assert cosine(0.1, 0, 10) == 0.1
    assert cosine(0.1, 5, 10) == pytest.approx(0.05)
    assert cosine(0.1, 10, 10) == pytest.approx(0)


def test_step_decay_acts_one_epoch_after_its_milestones() -> None:
    rates = [step_decay(0.1, epoch, (60, 120, 160)) for epoch in range(200)]
    changes = [epoch for epoch in range(1, 200) if rates[epoch] != rates[epoch - 1]]
    assert changes == [61, 121, 161]
    assert rates[-1] == pytest.approx(8e-4)
