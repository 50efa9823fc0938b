from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import preemption
from cluster.preemption import watch
from cluster.providers.base import Metadata
from cluster.providers.registry import PROVIDERS
from tests.support.metadata_service import Service, metadata_service


@pytest.fixture
def endpoint() -> Iterator[str]:
    with metadata_service() as address:
        yield address


def notice_of(cloud: str, endpoint: str) -> Callable[[], str | None]:
    """What the watcher asks on a cloud."""
    announced = PROVIDERS[cloud].preemption
    assert announced
    return lambda: announced.notice(Metadata(endpoint=endpoint))


@pytest.mark.parametrize(("cloud", "said"), [("aws", "terminate at 2026-01-02T03:04:05Z"), ("gcp", "preempted")])
def test_a_notice_is_understood(cloud: str, said: str, endpoint: str) -> None:
    assert notice_of(cloud, endpoint)() is None
    Service.notice = True
    assert notice_of(cloud, endpoint)() == said


def test_the_node_is_drained_once_and_trials_see_the_flag(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "leaving"
    monkeypatch.setattr(preemption, "FLAG", flag)
    flag.write_text("of an earlier life")
    drained: list[str] = []
    said: list[str] = []
    rounds: list[float] = []

    def sleep(seconds: float) -> None:
        rounds.append(seconds)
        assert not preemption.leaving()
        Service.broken = len(rounds) in {2, 3}
        Service.garbled = len(rounds) == 4
        Service.notice = len(rounds) == 6

    monkeypatch.setattr("cluster.preemption.time.sleep", sleep)
    watch(
        notice_of("aws", endpoint),
        drain=lambda reason, ago: drained.append(reason),
        interval=2,
        say=said.append,
        flag=flag,
    )
    assert drained == ["terminate at 2026-01-02T03:04:05Z"]
    assert preemption.leaving()
    assert rounds == [2] * 6
    assert [line.partition(":")[0] for line in said] == [
        "the cloud's metadata cannot be read, will retry",  # once for two failures in a row
        "the cloud's metadata cannot be read, will retry",  # what came was no JSON
        "this machine will be preempted",
    ]


def test_a_drain_that_fails_is_tried_again_with_the_time_that_is_left(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 100.0}
    asked: list[float] = []
    said: list[str] = []

    def drain(reason: str, ago: float) -> None:
        asked.append(ago)
        if len(asked) < 4:
            raise RuntimeError("the head does not answer")

    def sleep(seconds: float) -> None:
        clock["now"] += seconds

    monkeypatch.setattr("cluster.preemption.time.sleep", sleep)
    monkeypatch.setattr("cluster.preemption.time.monotonic", lambda: clock["now"])
    Service.notice = True
    watch(notice_of("gcp", endpoint), drain=drain, interval=2, say=said.append, flag=tmp_path / "leaving")
    assert asked == [0, 2, 4, 6]
    assert said == [
        "this machine will be preempted: preempted",
        "the node cannot be drained, will retry: the head does not answer",
    ]
