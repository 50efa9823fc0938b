"""Tells a webhook how a session of a sweep ended. What goes wrong here is a warning, and never the sweep's end."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
from pydantic import SecretStr

from orchestrator.errors import ZsktError
from orchestrator.results import SweepResults
from orchestrator.storage import SweepStore
from trainables.errors import TrialError

ENVIRONMENT = "ZSKT_NOTIFY"
"""Environment variable with the webhook of sweeps that name none."""

_PATIENCE = 10.0
"""Seconds for the webhook's answer."""


@dataclass(frozen=True, kw_only=True)
class Notifier:
    """For one session. Its address is a secret: who has it can write into the channel."""

    url: str | None
    sweep_store: SweepStore
    warn: Callable[[str], None]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Tell of an exception that ends the block, and let it go on."""
        try:
            yield
        except Exception as error:
            ours = isinstance(error, ZsktError | TrialError)
            self._send(f"failed: {error if ours else type(error).__name__}")
            raise

    def paused(self, place: str) -> None:
        """Tell that storage is away, which nobody sees who is not watching."""
        self._send(f"paused: storage {place} does not answer; it goes on by itself when storage does")

    def ended(self, *, finished: bool, out_of_budget: str = "") -> None:
        """Tell how far the sweep has come, with its answer.

        Args:
            finished: Whether no trial is left.
            out_of_budget: What has been spent, where that is why some are; else empty.
        """
        if self.url is None:
            return
        try:
            told = _result(self.sweep_store)
        except (OSError, pa.ArrowException, ZsktError) as error:
            told = f"its results cannot be read: {error}"
        how = "finished" if finished else "stopped before its end; the same command goes on with it"
        if out_of_budget:
            how = f"budget reached: {out_of_budget}; with a larger one the same command goes on with it"
        self._send(f"{how}. {told}")

    def _send(self, text: str) -> None:
        if self.url is None:
            return
        body = json.dumps({"text": f"zskt: sweep {self.sweep_store.sweep_id} {text}"}).encode()
        request = urllib.request.Request(self.url, data=body, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE):
                pass
        except urllib.error.HTTPError as error:
            self.warn(f"warning: the webhook of notify refused the message: HTTP {error.code}; check its address")
        except (OSError, ValueError) as error:
            # Not the error's text, which can hold the address.
            self.warn(
                f"warning: the webhook of notify cannot be reached ({type(error).__name__}); the sweep is not touched"
            )


def webhook(configured: SecretStr | None) -> str | None:
    """The address: what the config says, ``$NAME`` for a variable of the environment, else ``ZSKT_NOTIFY``."""
    value = configured.get_secret_value() if configured else f"${ENVIRONMENT}"
    return (os.environ.get(value[1:]) or None) if value.startswith("$") else value


def _result(sweep_store: SweepStore) -> str:
    # Plotly takes a second to load, and only a sweep that notifies somebody needs it, at its end.
    from orchestrator.report.chapter import answer_of
    from orchestrator.report.data import read_sweep
    from orchestrator.report.extras import read_extras

    results = SweepResults(sweep_store)
    data = read_sweep(results)
    report = sweep_store.storage.shown(sweep_store.report_page)  # the command writes it next
    found = answer_of(data, read_extras(results, data))
    return f"{data.ended_of_all} trials ended ({data.board.states_in_words or 'none'}). {found} Report: {report}"
