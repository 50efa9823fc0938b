from __future__ import annotations

from typing import Any

import pytest

from orchestrator.costs.early_stopping import used_share
from orchestrator.schedulers.registry import SCHEDULERS


def share(trials: int, *, interval: int = 1, **settings: Any) -> tuple[float, float]:
    scheduler = SCHEDULERS.parse(settings)
    found = used_share(scheduler, budget=100, report_interval=interval, trials=trials)
    assert found == used_share(scheduler, budget=100, report_interval=interval, trials=trials)
    return found.least, found.expected


@pytest.mark.parametrize("name", ["pbt", "none"])
def test_where_nothing_is_stopped_all_is_used(name: str) -> None:
    assert share(80, name=name) == (1, 1)


def test_one_trial_has_nobody_to_be_compared_with() -> None:
    assert share(1, name="asha") == (1, 1)
    assert share(5, name="median", minimum_trials=5) == (1, 1)
    assert share(60, name="median", minimum_trials=60, interval=20) == (1, 1)


def test_at_worst_all_but_the_first_end_at_the_first_rung() -> None:
    least, expected = share(10, name="asha", grace=0.25, reduction_factor=3)
    assert least == pytest.approx((1 + 9 * 0.25) / 10)
    assert least < expected < 0.7
    assert share(200, name="asha", grace=0.25)[0] == pytest.approx((1 + 199 * 0.25) / 200)


def test_trials_that_report_seldom_are_stopped_later() -> None:
    assert share(10, name="asha", grace=0.25, interval=40)[0] == pytest.approx((1 + 9 * 0.4) / 10)


def test_a_stricter_search_uses_less() -> None:
    shares = [share(40, name="asha", grace=0.1, reduction_factor=factor)[1] for factor in (2, 3, 8)]
    assert shares == sorted(shares, reverse=True)
    # Of 40 trials that come to a rung about 40 / factor pass, so more than that share of what lies behind it is used.
    assert shares[-1] > 0.1 + 0.7 / 8


def test_of_median_stopping_the_first_few_are_spared() -> None:
    least, expected = share(20, name="median", grace=0.5, minimum_trials=4)
    assert least == pytest.approx((4 + 16 * 0.5) / 20)
    assert least < expected < 1
