from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from cluster.session import NoClusterError
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ClusterError, ConfigError
from orchestrator.monitor.webhook import Notifier, webhook
from orchestrator.results import SessionEvent
from orchestrator.results.sessions import session_row
from orchestrator.run import sweep as sweeps
from orchestrator.storage import SweepStore
from tests.support.synthetic import write_cases, write_search
from trainables.storage.object_store import ObjectStore

SECRET = "T0K3N"


@contextmanager
def receiver(status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A webhook of this machine: its address and what it is told."""
    told: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/{SECRET}", told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_end_of_a_sweep_is_told_with_its_answer(store: ObjectStore) -> None:
    write_search(store, "search-a")
    said: list[str] = []
    with receiver() as (url, told):
        Notifier(url=url, sweep_store=SweepStore(store, "search-a"), warn=said.append).ended(finished=True)
    (message,) = told
    assert set(message) == {"text"}
    assert message["text"].startswith(
        "zskt: sweep search-a finished. 12 of 12 trials ended (4 completed, 8 stopped early)."
    )
    assert "Best so far is t0" in message["text"]
    assert message["text"].endswith(f"Report: {store.shown('reports/search-a/index.html')}")
    assert said == []


def test_of_cases_the_verdict_is_told(store: ObjectStore) -> None:
    sweep = load_sweep("digits-table-1")
    write_cases(store, "cases-a", sweep, dict.fromkeys(sweep.cases, 0.9))
    with receiver() as (url, told):
        Notifier(url=url, sweep_store=SweepStore(store, "cases-a"), warn=pytest.fail).ended(finished=True)
    assert re.search(r"6 of 6 trials ended \(6 completed\)\. Of 1 published result: .* Report: ", told[0]["text"])


def test_a_failure_is_told_and_goes_on(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_cluster(address: str | None) -> Any:
        raise NoClusterError("no Ray cluster answers at 10.0.0.1")

    monkeypatch.setattr("orchestrator.run.ray_backend.ray_session", no_cluster)
    with receiver() as (url, told):
        config = SweepConfig.model_validate({"name": "a", "storage": store.root, "notify": url})
        with pytest.raises(ClusterError):
            sweeps.run_sweep(config, sweep_id="search-a")
    assert [message["text"].partition(":")[2] for message in told] == [
        " sweep search-a failed: no Ray cluster answers at 10.0.0.1; check --address and RAY_ADDRESS, or use --address local"
    ]


def test_a_webhook_that_fails_is_a_warning_without_its_address(store: ObjectStore) -> None:
    write_search(store, "search-a")
    said: list[str] = []
    with receiver(status=404) as (url, _):
        Notifier(url=url, sweep_store=SweepStore(store, "search-a"), warn=said.append).ended(finished=True)
    Notifier(url=url, sweep_store=SweepStore(store, "search-a"), warn=said.append).ended(
        finished=True
    )  # nobody listens any more
    assert said[0] == "warning: the webhook of notify refused the message: HTTP 404; check its address"
    assert said[1] == "warning: the webhook of notify cannot be reached (URLError); the sweep is not affected"
    assert SECRET not in " ".join(said)


def test_the_address_is_nowhere_but_in_the_config() -> None:
    config = load_sweep("quickstart", flags={"notify": f"https://hooks.example/{SECRET}"})
    row = session_row(config, [], number=0, event=SessionEvent.STARTED, cpus=1, gpus=0)
    assert SECRET not in f"{config} {config!r} {row} {config.model_dump()} {config.model_dump_json()}"
    assert config.default_sweep_id == load_sweep("quickstart").default_sweep_id
    assert webhook(config.notify) == f"https://hooks.example/{SECRET}"


def test_a_wrong_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigError, match="notify: expected a webhook's address") as refusal:
        load_sweep("quickstart", flags={"notify": f"hooks.example/{SECRET}"})
    assert SECRET not in str(refusal.value)


def test_the_environment_can_name_the_webhook(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZSKT_NOTIFY", raising=False)
    assert webhook(None) is None
    monkeypatch.setenv("ZSKT_NOTIFY", "https://a.example")
    monkeypatch.setenv("MY_HOOK", "https://b.example")
    assert webhook(None) == "https://a.example"
    assert webhook(load_sweep("quickstart", flags={"notify": "$MY_HOOK"}).notify) == "https://b.example"
    Notifier(url=None, sweep_store=SweepStore(store, "a"), warn=pytest.fail).ended(finished=True)


def test_a_budget_that_is_used_up_is_told_as_such(store: ObjectStore) -> None:
    write_search(store, "search-a")
    with receiver() as (url, told):
        notifier = Notifier(url=url, sweep_store=SweepStore(store, "search-a"), warn=pytest.fail)
        notifier.ended(finished=False, out_of_budget="49.7 of 50 USD spent")
    assert told[0]["text"].startswith(
        "zskt: sweep search-a budget reached: 49.7 of 50 USD spent; with a larger one the same"
    )
