"""The benchmark of a sweep's growth puts stand-ins into the driver; whoever moves what it replaces learns it here."""

from __future__ import annotations

import pytest

from benchmarks.speed.growth import ours


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_trials_that_cost_nothing_are_rows() -> None:
    side, rows = ours(3)
    assert (len(side.ends), rows) == (3, 3)
