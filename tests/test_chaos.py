"""What ``benchmarks.chaos`` disturbs can be run; the disturbances themselves take minutes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.chaos.sweep import write_sweep
from orchestrator.config.loading import load_sweep


def test_no_setting_of_the_sweep_depends_on_which_trial_ends_first(tmp_path: Path) -> None:
    write_sweep(tmp_path, trials=3, rounds=5)
    sweep = load_sweep(str(tmp_path / "sweep.yaml"))
    assert (sweep.sampler.name, sweep.scheduler.name) == ("random", "none")
    assert (sweep.num_trials, sweep.max_failures) == (3, 5)
