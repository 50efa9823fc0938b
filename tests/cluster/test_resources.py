from __future__ import annotations

import pytest

from cluster.resources import max_concurrent_trials


@pytest.mark.parametrize(
    ("cpus", "gpus", "cpus_per_trial", "gpus_per_trial", "fit"),
    [(2, 0, 1, 0, 2), (3, 0, 2, 0, 1), (16, 4, 1, 1, 4), (16, 4, 1, 0.25, 16), (2, 4, 1, 0.25, 2), (1, 0, 0.5, 0, 2)],
)
def test_how_many_trials_fit(cpus: float, gpus: float, cpus_per_trial: float, gpus_per_trial: float, fit: int) -> None:
    assert (
        max_concurrent_trials(cpus=cpus, gpus=gpus, cpus_per_trial=cpus_per_trial, gpus_per_trial=gpus_per_trial) == fit
    )


def test_what_is_short_is_named_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="asks for 1 GPU and the cluster has 0: run with --gpus 0"):
        max_concurrent_trials(cpus=2, gpus=0, cpus_per_trial=1, gpus_per_trial=1)
    with pytest.raises(ValueError, match="asks for 4 CPU cores and the cluster has 2: run with --cpus 1"):
        max_concurrent_trials(cpus=2, gpus=0, cpus_per_trial=4, gpus_per_trial=0)
