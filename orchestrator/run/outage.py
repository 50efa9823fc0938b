"""Pauses a sweep while storage is unavailable for longer than requests are retried, and then resumes the sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa

from orchestrator.config.blocks import StorageConfig
from orchestrator.errors import StorageError, SweepStoppedError, naming_files
from orchestrator.formatting import duration
from orchestrator.run.signals import PROCESS_SIGNALS, Signals
from orchestrator.storage import shown
from trainables.errors import StorageOutageError
from trainables.storage.object_store import ObjectStore
from trainables.system.clock import SYSTEM_CLOCK, Clock

_LOOK_SECONDS = 10.0
"""Seconds between two checks whether storage answers again."""

_LINE_SECONDS = 60.0
"""Seconds between two printed lines during a pause."""

_PROBE = ".zskt-probe-paused"
"""Object that is written and deleted to check the storage. Its name is fixed, so that at most one can be left behind."""


def wait_for_storage(
    store: ObjectStore,
    storage: StorageConfig,
    outage: StorageOutageError,
    *,
    say: Callable[[str], None],
    clock: Clock = SYSTEM_CLOCK,
    signals: Signals = PROCESS_SIGNALS,
) -> None:
    """Wait until storage answers again, so that the sweep can be resumed.

    Args:
        store: Object store of the sweep.
        storage: Config of the storage, with the longest pause.
        outage: The error that ended the session.
        say: Function called with a message at the beginning, once a minute, and at the end.
        clock: Clock by which the pause is waited for and measured.
        signals: Source of the signals by which the user ends the pause.

    Raises:
        StorageError: the pause has lasted as long as allowed (or none is allowed), or storage answers but refuses requests.
        SweepStoppedError: the user pressed Ctrl-C, or the process got SIGTERM.
    """
    place, longest, start = shown(storage), storage.pause_seconds, clock.monotonic()
    if longest == 0:
        raise storage_failed(storage, outage) from outage
    limit = "" if longest is None else f", for up to {duration(longest)}"
    say(
        f"storage {place} failed: {outage}. Paused: nothing that was written is lost, trials stay as they were, and the "
        f"sweep resumes by itself when storage answers{limit}. Ctrl-C stops it"
    )
    next_line = _LINE_SECONDS
    try:
        with signals.terminate_like_interrupt():
            while not _answers(store, storage):
                waited = clock.monotonic() - start
                if longest is not None and waited >= longest:
                    raise storage_failed(storage, outage) from outage
                if waited >= next_line:
                    next_line = waited + _LINE_SECONDS
                    say(f"paused since {duration(waited)}: storage {place} does not answer")
                clock.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        raise stopped(storage) from outage
    say(f"storage {place} answers again after a pause of {duration(clock.monotonic() - start)}; the sweep resumes")


@contextmanager
def naming_storage(storage: StorageConfig) -> Iterator[None]:
    """Turn storage errors of the block into messages for the user. ``StorageOutageError``, which leads to a pause, is kept.

    Raises:
        StorageError: the block raised an error of storage.
        PartError: a file of the user's own raised an error.
    """
    try:
        with naming_files():
            yield
    except StorageOutageError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise storage_failed(storage, error) from error


def storage_failed(storage: StorageConfig, error: Exception) -> StorageError:
    """Return the error that ends a session whose results cannot be stored."""
    return StorageError(
        f"storage {shown(storage)} failed: {error}. Nothing that was written is lost and trials stay as they were; once "
        "storage works again (is the disk full?), the same command resumes the sweep"
    )


def stopped(storage: StorageConfig) -> SweepStoppedError:
    """Return the error that ends a session when the user stops it during an outage."""
    return SweepStoppedError(
        f"stopped while storage {shown(storage)} did not answer; once it answers, the same command resumes this sweep"
    )


def _answers(store: ObjectStore, storage: StorageConfig) -> bool:
    once = replace(store, patience=0)
    try:
        once.write(_PROBE, b"zskt")  # a service in trouble may answer reads and refuse writes
        once.delete(_PROBE)
    except StorageOutageError:
        return False
    except OSError as error:
        raise storage_failed(storage, error) from error
    return True
