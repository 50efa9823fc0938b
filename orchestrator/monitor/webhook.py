"""Notification of a webhook when a session of a sweep ends. Errors here are only warnings and never stop the sweep."""

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
"""Environment variable with the webhook for sweeps whose config names none."""

_PATIENCE = 10.0
"""Time-out of a request to the webhook, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Notifier:
    """Sends messages about one session to a webhook, whose address is a secret: whoever knows it can write there."""

    url: str | None
    sweep_store: SweepStore
    warn: Callable[[str], None]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Send a message if an exception ends the block, and re-raise the exception."""
        try:
            yield
        except Exception as error:
            ours = isinstance(error, ZsktError | TrialError)
            self._send(f"failed: {error if ours else type(error).__name__}")
            raise

    def paused(self, place: str) -> None:
        """Send a message that the sweep is paused because of a storage outage."""
        self._send(f"paused: storage {place} does not answer; the sweep resumes by itself when storage does")

    def ended(self, *, finished: bool, out_of_budget: str = "") -> None:
        """Send a message that the session has ended, with the sweep's results so far.

        Args:
            finished: Whether no trial is left to run.
            out_of_budget: What has been spent, in words, if trials are left because the budget is used up; else empty.
        """
        if self.url is None:
            return
        try:
            told = _result(self.sweep_store)
        except (OSError, pa.ArrowException, ZsktError) as error:
            told = f"its results cannot be read: {error}"
        how = "finished" if finished else "stopped before its end; the same command resumes it"
        if out_of_budget:
            how = f"budget reached: {out_of_budget}; with a larger one the same command resumes it"
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
            # The error's text is not printed, since it can contain the secret address.
            self.warn(
                f"warning: the webhook of notify cannot be reached ({type(error).__name__}); the sweep is not affected"
            )


def webhook(configured: SecretStr | None) -> str | None:
    """Return the webhook's address from the config, where ``$NAME`` is an environment variable, else from ``ZSKT_NOTIFY``.

    Returns:
        The address; None if neither is set.
    """
    value = configured.get_secret_value() if configured else f"${ENVIRONMENT}"
    return (os.environ.get(value[1:]) or None) if value.startswith("$") else value


def _result(sweep_store: SweepStore) -> str:
    # Imported here: Plotly takes a second to load, and only a sweep with a webhook needs it, at its end.
    from orchestrator.report.chapter import answer_of
    from orchestrator.report.data import read_sweep
    from orchestrator.report.extras import read_extras

    results = SweepResults(sweep_store)
    data = read_sweep(results)
    report = sweep_store.storage.shown(
        sweep_store.report_page
    )  # the command writes the report right after this message
    found = answer_of(data, read_extras(results, data))
    return f"{data.ended_of_all} trials ended ({data.board.states_in_words or 'none'}). {found} Report: {report}"
