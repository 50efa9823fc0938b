"""What can go wrong in a sweep that a user can mend.

    ZsktError                   exit code 1
      |- ConfigError            exit code 2: a field, value, preset or flag is wrong
      |    `- SweepMismatchError    the sweep id belongs to a sweep with other settings
      |- PartError              exit code 2: a sampler, scheduler or space fails, which may be the user's own
      |- ClusterError           Ray cannot be reached
      |- SweepBusyError         another process is running this sweep
      |- SweepNotFoundError     no results under this id
      |- SweepStoppedError      exit code 130: Ctrl-C while storage was away
      `- StorageError           storage cannot be used: address, rights, or the folder is not ours

``trainables.errors.TrialError`` is the tree's other half. The command line prints the message of either without a
stack trace; each says what is wrong, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from trainables.errors import StorageOutageError, StorageRefusedError, TrialError


class ZsktError(Exception):
    """Root of the tree above."""

    exit_code = 1


class ConfigError(ZsktError):
    """The user's settings are wrong."""

    exit_code = 2


class SweepMismatchError(ConfigError):
    """A sweep cannot go on under other settings than it began with."""


class PartError(ZsktError):
    """Code that the settings name fails. Nothing is lost: once the code is mended, the sweep goes on."""

    exit_code = 2


class ClusterError(ZsktError):
    """There is no Ray to run on."""


class SweepBusyError(ZsktError):
    """Two drivers of one sweep would overwrite each other."""


class SweepNotFoundError(ZsktError):
    """There is nothing to show."""


class SweepStoppedError(ZsktError):
    """The user did not want to wait for storage. An error, since what a stopped sweep has found cannot be read and shown."""

    exit_code = 130


class StorageError(ZsktError):
    """Results and checkpoints have no place to go."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """``unknown field 'student_stepz'; did you mean student_steps? Known: ...``."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown {kind} {name!r}; {hint}Known: {', '.join(known)}"


@contextmanager
def naming(part: str, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Say of an error that a part has raised it, whatever the error is.

    What a part does to the study is published after it, so that an error of the operating system is the part's too, and
    none of the sweep's storage.

    Args:
        part: What the settings name, in words: ``sampler mine.py:Mine``.
        passing: Errors by which the part refuses what it is given; they stay as they are.

    Raises:
        PartError: with what the block raised.
    """
    stays: tuple[type[Exception], ...] = (ZsktError, StorageOutageError, StorageRefusedError, *passing)
    try:
        yield
    except stays:
        raise
    except (Exception, SystemExit) as error:
        raise part_error(part, error) from error


@contextmanager
def naming_files() -> Iterator[None]:
    """Say of an error that a part of a file has raised it, where the file's code has. Others stay as they are.

    Raises:
        PartError: with what the block raised.
    """
    try:
        yield
    except (ZsktError, TrialError):
        raise
    except (Exception, SystemExit) as error:
        # With it come the configs, which take as long to load as all else that --help needs.
        from trainables.config.plugins import failing_part

        part = failing_part(error)
        if part is None:
            raise
        raise part_error(part, error) from error


def part_error(part: str, error: BaseException) -> PartError:
    """Return what is said of a part that fails."""
    return PartError(
        f"{part} fails: {type(error).__name__}: {error}. With --verbose the same command shows where, and once that is "
        "mended it goes on"
    )
