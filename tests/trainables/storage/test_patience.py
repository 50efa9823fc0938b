"""What happens when storage does not answer: first the waiting alone, then over real connections that fail."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from botocore import exceptions

from benchmarks.chaos.servers import FaultyProxy
from orchestrator.errors import StorageError
from orchestrator.storage import find_storage, open_storage
from tests.support.servers import tell
from tests.support.simulated import SimulatedClock
from tests.support.tiny import make_bucket, make_google_bucket, query_of
from trainables.errors import StorageOutageError, StorageRefusedError
from trainables.storage import object_store
from trainables.storage.filesystems import LocalFilesystem, PassingError, s3
from trainables.storage.object_store import ObjectStore


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


class Flaky(LocalFilesystem):
    """Fails as it is told, then works."""

    def __init__(self, fails: Callable[[], Exception | None]) -> None:
        object.__setattr__(self, "fails", fails)

    def read(self, path: str) -> bytes:
        error = self.fails()  # type: ignore[attr-defined]
        if error:
            raise error
        return b"value"


def until(clock: SimulatedClock, seconds: float) -> Callable[[], Exception | None]:
    return lambda: PassingError("SlowDown (HTTP 503)") if clock.seconds < seconds else None


def test_an_outage_of_two_minutes_costs_two_minutes_and_three_lines(
    clock: SimulatedClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = ObjectStore(filesystem=Flaky(until(clock, 120)), root="/bucket", clock=clock)
    assert store.read("key") == b"value"
    assert 120 <= clock.seconds < 131
    lines = [record.getMessage() for record in caplog.records]
    assert "storage /bucket does not answer; waiting (since" in lines[0]
    assert "SlowDown (HTTP 503)" in lines[0]
    assert "answers again, after 12" in lines[-1]
    assert 3 <= len(lines) <= 7
    assert len(set(clock.slept)) > len(clock.slept) / 2, "pauses differ, so that workers do not come back at once"
    assert max(clock.slept) <= 10


def test_a_short_outage_is_not_worth_a_line(clock: SimulatedClock, caplog: pytest.LogCaptureFixture) -> None:
    ObjectStore(filesystem=Flaky(until(clock, 0.3)), root="/bucket", clock=clock).read("key")
    assert not caplog.records


def test_patience_ends(clock: SimulatedClock) -> None:
    store = ObjectStore(filesystem=Flaky(until(clock, 10**6)), root="/bucket", patience=300, clock=clock)
    with pytest.raises(StorageOutageError, match=r"did not answer for \d+ s .*SlowDown.*; the patience is 300 s"):
        store.below("folder").read("key")
    assert 280 < clock.seconds <= 300


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), FileNotFoundError("gone")])
def test_what_waiting_does_not_mend_fails_at_once(error: Exception, clock: SimulatedClock) -> None:
    with pytest.raises(type(error)):
        ObjectStore(filesystem=Flaky(lambda: error), root="/bucket", clock=clock).read("key")
    assert clock.slept == []


@pytest.fixture
def behind(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A bucket behind the proxy, with time-outs and pauses that suit a test."""
    monkeypatch.setattr(s3, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(object_store, "_LONGEST_PAUSE_SECONDS", 0.2)
    bucket = make_bucket(proxy.url).partition("?")[0]
    return find_storage(f"{bucket}/runs?{query_of(proxy.url)}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (exceptions.EndpointConnectionError, "Could not connect"),
        (exceptions.ReadTimeoutError, "Read timeout"),
        (exceptions.ConnectionClosedError, "Connection was closed before we received a valid response"),
    ],
)
def test_what_the_network_did_is_said_in_few_words(error: Callable[..., Exception], said: str) -> None:
    with pytest.raises(PassingError, match=f"^s3://b/k: {said}$"), s3._translated("s3://b/k"):
        raise error(endpoint_url="http://host/b/k")


SERVERS = ["moto", pytest.param("ceph", marks=[pytest.mark.s3, pytest.mark.timeout(120)])]


@pytest.mark.parametrize("proxy", SERVERS, indirect=True)
@pytest.mark.parametrize("mode", ["reset", "hang", "503"])
def test_every_request_survives_an_outage(mode: str, behind: ObjectStore, proxy: FaultyProxy) -> None:
    behind.write("a", b"old")
    requests: list[Callable[[], object]] = [
        lambda: behind.write("a", b"new"),
        lambda: behind.read("a"),
        lambda: behind.keys(""),
        lambda: behind.exists("a"),
        lambda: behind.delete("b"),
    ]
    for request in requests:
        outage = proxy.fail_for(0.7, mode)
        start = time.monotonic()
        request()
        assert time.monotonic() - start > 0.6
        outage.join()
    assert behind.read("a") == b"new"


@pytest.mark.parametrize("proxy", SERVERS, indirect=True)
def test_one_request_in_ten_refused_for_load_changes_nothing(behind: ObjectStore, proxy: FaultyProxy) -> None:
    proxy.share_503 = 0.1
    for number in range(60):
        behind.write(f"many/{number:02d}", str(number).encode())
    assert [int(data) for data in behind.read_all(behind.keys("many"))] == list(range(60))
    assert proxy.failed >= 5


def test_the_preflight_endures_a_busy_server(proxy: FaultyProxy, moto: str) -> None:
    address = make_bucket(moto).partition("?")[0] + "?" + query_of(proxy.url)
    proxy.share_503 = 0.1
    for _ in range(3):
        open_storage(address)


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_a_right_that_is_taken_away_in_mid_run_is_not_waited_for(
    method: str, behind: ObjectStore, proxy: FaultyProxy
) -> None:
    proxy.mode = f"deny {method}"
    requests: dict[str, Callable[[], object]] = {
        "PUT": lambda: behind.write("a", b""),
        "GET": lambda: behind.read("a"),
        "DELETE": lambda: behind.delete("a"),
    }
    with pytest.raises(StorageRefusedError, match=r"s3://bucket-\w+/runs/a: \w+Object is not allowed with these"):
        requests[method]()


@pytest.fixture
def at_google(google: str) -> Iterator[ObjectStore]:
    store = replace(find_storage(f"{make_google_bucket(google)}/runs"), patience=0)
    store.write("a", b"there")
    yield store
    tell(google, "answer/0")


@pytest.mark.parametrize("status", [400, 401, 403, 412])
def test_what_google_refuses_is_not_waited_for(status: int, at_google: ObjectStore, google: str) -> None:
    tell(google, f"answer/{status}")
    requests: list[Callable[[], object]] = [lambda: at_google.read("a"), lambda: at_google.write("a", b"")]
    for request in requests:
        with pytest.raises(StorageRefusedError, match="gs://bucket-.*as told"):
            request()


@pytest.mark.parametrize("status", [429, 503])
def test_what_google_cannot_do_now_is_an_outage(status: int, at_google: ObjectStore, google: str) -> None:
    tell(google, f"answer/{status}")
    with pytest.raises(StorageOutageError, match="as told"):
        at_google.exists("a")
    tell(google, "answer/0")
    assert at_google.read("a") == b"there"


def test_a_bucket_that_google_does_not_know_is_said_before_anything_runs(google: str) -> None:
    with pytest.raises(StorageError, match="storage gs://no-such-bucket/runs cannot be written to: .*404"):
        open_storage("gs://no-such-bucket/runs")
