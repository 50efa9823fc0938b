"""How many trials share a GPU, from invented measurements; real ones are in ``test_fake_gpus``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.speed import gpu_sharing
from benchmarks.speed.training_loop import make_config
from cluster.capacity import Capacity, NodeType
from orchestrator.config import SweepConfig
from orchestrator.results import ResultWriter, SessionEvent
from orchestrator.results.sessions import session_row
from orchestrator.run.calibration import settle_sharing, with_known_budget
from orchestrator.run.gpu_sharing import ColocatedTrials, Gpu, Sharing, SharingError, measure_sharing
from orchestrator.run.inline import InlineBackend
from orchestrator.storage import SweepStore
from tests.support.tiny import tiny_settings
from trainables.profiling.gpu_process import Beginning
from trainables.storage.object_store import ObjectStore

GB = 10**9
A10G = Gpu(device_name="NVIDIA A10G", gpu_bytes=24 * GB, address="10.0.0.2")


@dataclass
class Invented:
    """Processes whose rates are known beforehand; with a number of processes that has none, one dies."""

    rates: Mapping[int, float]
    needs_bytes: int = 2 * GB
    seconds_each: float = 0.1
    processes: int = 0

    def scale_to(self, processes: int) -> Beginning:
        self.processes = processes
        if processes not in self.rates:
            raise SharingError("OutOfMemoryError: CUDA out of memory")
        return Beginning(device_name=A10G.device_name, gpu_bytes=A10G.gpu_bytes, seconds_each=self.seconds_each)

    def peak_memory(self) -> int:
        assert self.processes == 1, "others would count as if they were this one"
        return self.needs_bytes

    def throughput(self) -> float:
        return self.rates[self.processes]


_: ColocatedTrials = Invented({})


def measured(rates: Mapping[int, float], *, most: int = 8, **more: Any) -> Sharing:
    found = measure_sharing(Invented(rates, **more), cpus=1, most=most, worth_it=lambda seconds: True)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rates", "more", "best", "tried", "stopped"),
    [
        ({1: 10, 2: 18, 4: 30, 8: 45}, {}, 8, 8, "more than 8 were not tried"),
        ({1: 10, 2: 14, 4: 16, 8: 16.5}, {}, 8, 8, "8 gave 1.03 times the throughput of 4"),
        ({1: 10, 2: 14, 4: 16, 8: 16.4}, {}, 4, 8, "8 gave 1.02 times the throughput of 4"),
        ({1: 10, 2: 14, 4: 13, 8: 99}, {}, 2, 4, "4 gave 0.93 times the throughput of 2"),
        ({1: 10, 2: 10.2, 4: 99}, {}, 1, 2, "2 gave 1.02 times the throughput of one"),
        ({1: 10, 2: 18, 4: 30, 8: 45}, {"needs_bytes": 5 * GB}, 4, 4, "8 would need 40.0 GB of 24.0 GB"),
        ({1: 10, 2: 18}, {"needs_bytes": 13 * GB}, 1, 1, "2 would need 26.0 GB of 24.0 GB"),
        ({1: 10, 2: 18}, {"needs_bytes": 12 * GB}, 1, 1, "2 would need 24.0 GB of 24.0 GB"),
        ({1: 10, 2: 18, 4: 30, 8: 45}, {"most": 4}, 4, 4, "there are no CPU cores for 8"),
        ({1: 10, 2: 18}, {}, 2, 2, "4 could not be measured: OutOfMemoryError: CUDA out of memory"),
    ],
    ids=["rising", "flat", "full", "falling", "busy", "memory", "one", "all of its memory", "cores", "crash"],
)
def test_the_fewest_that_come_near_the_best_share_a_gpu(
    rates: dict[int, float], more: dict[str, Any], best: int, tried: int, stopped: str
) -> None:
    found = measured(rates, **more)
    assert (found.best, max(found.rates), found.stopped) == (best, tried, stopped)


def test_the_choice_is_said_in_a_line() -> None:
    found = measured({1: 10, 2: 14, 4: 16, 8: 16.4}, needs_bytes=1_900_000_000)
    assert found.sentence(4) == (
        "4 trials share a GPU: 4 gave 1.60 times the throughput of one, each needs 1.9 GB "
        "(8 gave 1.02 times the throughput of 4)"
    )
    assert measured({1: 10, 2: 9}).sentence(1) == (
        "each trial has a GPU to itself and needs 2.0 GB of its memory (2 gave 0.90 times the throughput of one)"
    )
    on_a_cpu = measured({1: 10, 2: 18}, needs_bytes=0, most=2)
    assert on_a_cpu.sentence(2) == (
        "2 trials share a GPU: 2 gave 1.80 times the throughput of one (there are no CPU cores for 4)"
    )
    assert Sharing.model_validate_json(found.model_dump_json()) == found


def test_no_more_share_a_gpu_than_there_are_trials_for_it() -> None:
    found = measured({1: 10, 2: 14, 4: 20, 8: 16})
    assert [found.trials_per_gpu(wanted) for wanted in (1, 2, 3, 4, 100)] == [1, 2, 4, 4, 4]


def test_what_is_over_sooner_is_not_measured_and_what_cannot_be_measured_is_said() -> None:
    asked: list[float] = []

    def not_worth(seconds: float) -> bool:
        asked.append(seconds)
        return False

    assert measure_sharing(Invented({1: 10}, seconds_each=0.25), cpus=1, most=8, worth_it=not_worth) is None
    assert asked == [0.25]
    with pytest.raises(SharingError, match="CUDA out of memory"):
        measured({})


def tiny(**changes: Any) -> SweepConfig:
    settings: dict[str, Any] = {
        "name": "tiny",
        "trial": {**tiny_settings(total_pseudo_batches=1000), "validation_fraction": 0.5},
        "space": {"temperature": {"type": "float", "low": 1, "high": 4}},
        "num_trials": 20,
        "resources": {"cpu": 1, "gpu": 1},
    }
    return SweepConfig.model_validate(settings | changes)


class Cluster:
    """Machines with four cores and a GPU each, on which invented processes are measured."""

    def __init__(self, store: ObjectStore) -> None:
        self.gpu: Gpu | None = A10G
        self.rates: dict[int, float] = {1: 10, 2: 15, 4: 20, 8: 30}
        self.seconds_each = 0.1
        self.store = store
        self.measurements: list[dict[str, Any]] = []
        self.said: list[str] = []

    def smallest(self) -> Gpu | None:
        return self.gpu

    @contextmanager
    def colocated(self, config: Any, **wanted: Any) -> Iterator[Invented]:
        self.measurements.append({"config": config, **wanted})
        yield Invented(self.rates, seconds_each=self.seconds_each)

    def settle(self, sweep: SweepConfig, *, trials: int = 20, machines: int = 1, cores: int = 4) -> int:
        """Trials that share a GPU, kept as a session keeps what it settles."""
        capacity = Capacity(fixed=[NodeType(count=machines, cpus=cores, gpus=1)])
        backend: Any = SimpleNamespace(capacity=capacity, gpu_pool=self)
        found, each = settle_sharing(
            sweep, backend, sweep_store=SweepStore(self.store, "s"), trials=trials, say=self.said.append
        )
        row = session_row(
            sweep,
            [],
            number=len(self.said),
            event=SessionEvent.STARTED,
            cpus=1,
            gpus=1,
            sharing_json=found.model_dump_json() if found else None,
        )
        ResultWriter(SweepStore(self.store, "s")).write_session(row)
        return each


@pytest.fixture
def cluster(store: ObjectStore) -> Cluster:
    return Cluster(store)


def test_a_sweep_measures_once_on_the_smallest_gpu_as_far_as_cores_and_trials_go(cluster: Cluster) -> None:
    assert cluster.settle(tiny()) == 4
    (asked,) = cluster.measurements
    assert (asked["cpus"], asked["most"], asked["on"]) == (1, 4, "10.0.0.2")
    assert cluster.said[-1].startswith("4 trials share a GPU: 4 gave 2.00 times the throughput of one")
    assert cluster.settle(tiny()) == 4, "as the session before has found"
    assert cluster.settle(tiny(), trials=2) == 2
    assert cluster.said[-1].startswith("2 trials share a GPU: 2 gave 1.50 times")
    cluster.gpu = None  # its machine is still to be started
    assert cluster.settle(tiny()) == 4
    assert len(cluster.measurements) == 1


def test_another_gpu_or_other_cores_are_measured_again(cluster: Cluster) -> None:
    cluster.settle(tiny())
    cluster.rates = {1: 10, 2: 15, 4: 12}
    assert cluster.settle(tiny(resources={"cpu": 2, "gpu": 1}), cores=8) == 2
    assert cluster.settle(tiny()) == 4
    cluster.gpu = Gpu(device_name="NVIDIA L4", gpu_bytes=24 * GB, address="10.0.0.3")
    assert cluster.settle(tiny()) == 2
    assert [asked["cpus"] for asked in cluster.measurements] == [1, 2, 1]


@pytest.mark.parametrize(("trials", "machines", "cores"), [(1, 1, 4), (3, 3, 4), (20, 1, 1)])
def test_nothing_is_measured_where_nothing_could_be_shared(
    cluster: Cluster, trials: int, machines: int, cores: int
) -> None:
    assert cluster.settle(tiny(), trials=trials, machines=machines, cores=cores) == 1
    assert not cluster.measurements
    assert not cluster.said


def test_a_sweep_that_is_over_soon_leaves_it_at_a_look(cluster: Cluster) -> None:
    cluster.seconds_each = 0.005  # 20 trials of 1000 pseudo batches: 100 s
    assert cluster.settle(tiny()) == 1
    assert "all trials take no longer than measuring" in cluster.said[-1]
    cluster.seconds_each = 0.007
    assert cluster.settle(tiny()) == 4
    assert cluster.settle(tiny()) == 4
    assert len(cluster.measurements) == 2, "only what was measured is kept"


def test_where_measuring_fails_each_trial_has_a_gpu_and_the_cause_is_said(cluster: Cluster) -> None:
    cluster.rates = {}
    assert cluster.settle(tiny()) == 1
    assert cluster.said[-1] == (
        "warning: each trial has a GPU to itself, since GPU sharing could not be measured: OutOfMemoryError: CUDA "
        "out of memory"
    )


def test_the_largest_networks_stand_for_all_cases(cluster: Cluster) -> None:
    cases = {"small": {}, "large": {"teacher": "wrn-10-2", "student": "wrn-10-1"}, "other": {"student_steps": 4}}
    cluster.settle(tiny(cases=cases, space={}, seeds=[0, 1]))
    assert cluster.measurements[0]["config"].teacher == "wrn-10-2"


@pytest.mark.parametrize(("gpu", "factor"), [(1.0, 1.0), (0.25, 0.5)])
def test_a_budget_in_seconds_counts_on_what_a_trial_has_beside_others(
    gpu: float, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.run.calibration.flops_per_second", lambda config, **needs: 1e9)
    sweep = tiny(budget={"unit": "seconds", "amount": 60}, resources={"cpu": 1, "gpu": gpu})
    sharing = measured({1: 10, 2: 15, 4: 20, 8: 16})
    known = with_known_budget(sweep, InlineBackend(), speed=None, sharing=sharing, say=lambda line: None)
    assert known.budget
    assert known.budget.flops_per_second == pytest.approx(factor * 1e9)


def test_in_one_process_trials_share_nothing(store: ObjectStore) -> None:
    backend = InlineBackend(cpus=8, gpus=1)
    said: list[str] = []
    places = SweepStore(store, "s")
    assert settle_sharing(tiny(), backend, sweep_store=places, trials=20, say=said.append) == (None, 1)
    assert not said


def test_the_benchmark_goes_on_as_long_as_memory_lasts() -> None:
    config = make_config("wrn-40-2:wrn-16-1")
    *head, one, two, four, _, why = gpu_sharing.table(config, Invented({1: 10, 2: 15, 4: 12}), [1, 2, 4, 8])
    assert head[0].startswith("wrn-40-2 to wrn-16-1, batch 128, 10 student steps, NVIDIA A10G with 24.0 GB, of which a")
    assert (one, two, four) == (
        "| 1 | 10.00 | 1.00 | 0.450 | 2.0 GB |",
        "| 2 | 15.00 | 1.50 | 0.675 | 4.0 GB |",
        "| 4 | 12.00 | 1.20 | 0.540 | 8.0 GB |",
    )
    assert why == "8 processes could not be measured: OutOfMemoryError: CUDA out of memory"
    assert len(gpu_sharing.table(config, Invented({1: 10}), [1])) == len([*head, one])


def test_the_benchmark_says_that_it_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds no GPU on this machine"):
        gpu_sharing.main(["--pair", "lenet:lenet"])
