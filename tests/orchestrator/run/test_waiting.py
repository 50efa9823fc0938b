from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import ray
from ray.util import placement_group, remove_placement_group

from orchestrator.run.callbacks.pending import PATIENCE_SECONDS, PendingWatchdog
from orchestrator.run.ray_backend import own_places
from tests.support.simulated import SimulatedClock


@dataclass
class Session:
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    said: list[str] = field(default_factory=list)
    placed: int = 0

    def watch(self) -> PendingWatchdog:
        return PendingWatchdog(
            cpus=1,
            gpus=0.5,
            warn=self.said.append,
            there=lambda: {"CPU": 8.0, "GPU": 1.0},
            free=lambda: {"GPU": 0.25},  # Ray leaves out what is all in use
            placed=lambda: self.placed,
            clock=self.clock,
        )


def step(watch: PendingWatchdog, *states: str) -> None:
    watch.on_step(running=states.count("RUNNING"), waiting=states.count("PENDING"))


def test_a_sweep_that_finds_no_room_says_so_once() -> None:
    session = Session()
    watch = session.watch()
    for session.clock.seconds in (0.0, PATIENCE_SECONDS - 1):
        step(watch, "TERMINATED", "PENDING")
    assert session.said == []
    for session.clock.seconds in (PATIENCE_SECONDS, 2 * PATIENCE_SECONDS):
        step(watch, "TERMINATED", "PENDING")
    (line,) = session.said
    assert line.startswith(
        "no trial could begin for 60 s: each needs 1 CPU cores and 0.5 GPUs; free are 0 of 8 cores and "
    )
    assert "0.25 of 1 GPUs" in line


@pytest.mark.parametrize(("placed", "whose"), [(1, "the process of one has"), (2, "the processes of 2 have")])
def test_what_the_sweeps_own_starting_processes_hold_is_not_called_others(placed: int, whose: str) -> None:
    session = Session(placed=placed)
    watch = session.watch()
    for session.clock.seconds in (0.0, PATIENCE_SECONDS):
        step(watch, "PENDING", "PENDING")
    (line,) = session.said
    assert line.startswith(f"no trial could begin for 60 s: {whose} not started yet, though resources are reserved")
    assert "thers" not in line


@pytest.mark.ray
def test_the_places_of_a_session_are_known(ray_local: None) -> None:
    before = own_places()
    group = placement_group([{"CPU": 1}])
    ray.get(group.ready())
    waiting = placement_group([{"CPU": 99}])
    assert own_places() == before + 1
    for made in (group, waiting):
        remove_placement_group(made)


def test_waiting_beside_a_trial_that_runs_is_no_waiting() -> None:
    session = Session()
    watch = session.watch()
    for session.clock.seconds in (0.0, PATIENCE_SECONDS - 1):
        step(watch, "PENDING")
    step(watch, "RUNNING", "PENDING")
    for session.clock.seconds in (PATIENCE_SECONDS, 2 * PATIENCE_SECONDS - 1):
        step(watch, "PENDING")
    step(watch)
    assert session.said == []
    for session.clock.seconds in (2 * PATIENCE_SECONDS, 3 * PATIENCE_SECONDS):
        step(watch, "PENDING")
    assert len(session.said) == 1
