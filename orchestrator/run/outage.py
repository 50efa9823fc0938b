"""Waiting for storage that is away for longer than a request is made again: the sweep is paused, and then goes on."""

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
"""Between two looks whether storage is back."""

_LINE_SECONDS = 60.0
"""Between two lines about it."""

_PROBE = ".zskt-probe-paused"
"""Written and removed to find out. Its name is always the same, so that no more than one can stay behind."""


def wait_for_storage(
    store: ObjectStore,
    storage: StorageConfig,
    outage: StorageOutageError,
    *,
    say: Callable[[str], None],
    clock: Clock = SYSTEM_CLOCK,
    signals: Signals = PROCESS_SIGNALS,
) -> None:
    """Return when storage answers again: the sweep can go on.

    Args:
        store: The sweep's storage.
        storage: What the config says of it, with the longest pause.
        outage: What ended the session.
        say: Told at the beginning, once a minute, and at the end.
        clock: By which the pause is waited for and measured.
        signals: Say when the user does not want to wait.

    Raises:
        StorageError: the pause has become as long as it may, or storage answers and refuses.
        SweepStoppedError: Ctrl-C or SIGTERM.
    """
    place, longest, start = shown(storage), storage.pause_seconds, clock.monotonic()
    if longest == 0:
        raise storage_failed(storage, outage) from outage
    limit = "" if longest is None else f", for up to {duration(longest)}"
    say(
        f"storage {place} failed: {outage}. Paused: nothing that was written is lost, trials stay as they were, and the "
        f"sweep goes on by itself when storage answers{limit}. Ctrl-C stops it"
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
    say(f"storage {place} answers again after a pause of {duration(clock.monotonic() - start)}; the sweep goes on")


@contextmanager
def naming_storage(storage: StorageConfig) -> Iterator[None]:
    """Say of an error of storage what it means for the sweep. One that is worth a pause stays as it is.

    Raises:
        StorageError: with what the block raised.
        PartError: code of the user's own raised it.
    """
    try:
        with naming_files():
            yield
    except StorageOutageError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise storage_failed(storage, error) from error


def storage_failed(storage: StorageConfig, error: Exception) -> StorageError:
    """What ends a session that cannot keep its results."""
    return StorageError(
        f"storage {shown(storage)} failed: {error}. Nothing that was written is lost and trials stay as they were; once "
        "storage works again (is the disk full?), the same command goes on"
    )


def stopped(storage: StorageConfig) -> SweepStoppedError:
    """What ends one whose user did not want to wait."""
    return SweepStoppedError(
        f"stopped while storage {shown(storage)} did not answer; once it does, the same command goes on with this sweep"
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
