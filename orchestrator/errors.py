"""Errors of a sweep that the user can put right.

    ZsktError                   exit code 1
      |- ConfigError            exit code 2: a field, value, preset or flag is wrong
      |    `- SweepMismatchError    the sweep id belongs to a sweep with other settings
      |- PartError              exit code 2: the code of a sampler, scheduler, space or other part fails
      |- ClusterError           Ray cannot be reached
      |- SweepBusyError         another process is running this sweep
      |- SweepNotFoundError     no results under this id
      |- SweepStoppedError      exit code 130: Ctrl-C during a storage outage
      `- StorageError           storage cannot be used: wrong address, missing rights, or a folder with other contents

``trainables.errors.TrialError`` is the root of the errors of a trial. The command line prints the messages of both trees
without a stack trace; each message says what is wrong, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from trainables.errors import StorageOutageError, StorageRefusedError, TrialError


class ZsktError(Exception):
    """Root of the errors of a sweep, listed at the top of this module."""

    exit_code = 1


class ConfigError(ZsktError):
    """A setting of the user's is wrong: a field, value, preset or flag."""

    exit_code = 2


class SweepMismatchError(ConfigError):
    """A sweep cannot be resumed with other settings than those it began with."""


class PartError(ZsktError):
    """The code of a part that the settings name fails. Nothing is lost: once the code is fixed, the sweep can be resumed."""

    exit_code = 2


class ClusterError(ZsktError):
    """No Ray cluster can be reached or started."""


class SweepBusyError(ZsktError):
    """Another driver is running this sweep; two drivers would overwrite each other's files."""


class SweepNotFoundError(ZsktError):
    """The storage has no results of the requested sweep."""


class SweepStoppedError(ZsktError):
    """The user stopped a sweep during a storage outage. An error, since the results cannot be read and shown."""

    exit_code = 130


class StorageError(ZsktError):
    """The storage for results and checkpoints cannot be used."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Format the message for an unknown name: ``unknown field 'student_stepz'; did you mean student_steps? Known: ...``."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown {kind} {name!r}; {hint}Known: {', '.join(known)}"


@contextmanager
def naming(part: str, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Convert any exception of the block into a ``PartError`` that names the part.

    The study's changes are published only after the block, so an ``OSError`` in the block also comes from the part, not
    from the sweep's storage.

    Args:
        part: Description of the part that the settings name, such as ``sampler mine.py:Mine``.
        passing: Exceptions by which the part refuses its input; they are raised unchanged, as are this program's own errors.

    Raises:
        PartError: the block raised any other exception.
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
    """Convert an exception that the code of a user's file raised into a ``PartError``; raise all others unchanged.

    Raises:
        PartError: an exception of the block came from the code of a user's file.
    """
    try:
        yield
    except (ZsktError, TrialError):
        raise
    except (Exception, SystemExit) as error:
        # Imported here because it loads the configs, which would double the start-up time of --help.
        from trainables.config.plugins import failing_part

        part = failing_part(error)
        if part is None:
            raise
        raise part_error(part, error) from error


def part_error(part: str, error: BaseException) -> PartError:
    """Return the error that reports a failing part and how to resume the sweep."""
    return PartError(
        f"{part} fails: {type(error).__name__}: {error}. To see where, run the same command with --verbose; once the code "
        "is fixed, the same command resumes the sweep"
    )
