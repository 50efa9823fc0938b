"""A folder that only this user's processes can enter, for the length of a session.

What Ray, Tune and we ourselves lay on a machine's disk for a session (sockets, logs, scratch files, heartbeats) would
otherwise lie in the shared temporary folder, where every user of the machine can read it or lay down files of their own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

PREFIX = "zskt-"
"""What the folders' names begin with."""

VARIABLE = "ZSKT_PRIVATE_FOLDER"
"""Environment variable that tells the processes of a session on this machine where its folder is."""

_LOCK = ".session"
"""File that a session holds locked in its folder; marks the folder as one of ours."""

_LONGEST_PARENT = 24
"""Characters of a parent folder's path. Ray appends up to 64 for its sockets and we 18 for the folder; macOS allows 103 in
all, and Linux 107."""

_PATIENCE = 5.0
"""Seconds for which processes that are ending may still write into a folder that is removed."""


class NoPrivateFolderError(RuntimeError):
    """No such folder can be made; the message says where it was tried."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder of mode 0700 for a block, and remove it with all that is in it at the end.

    Folders that sessions of this user have left behind because they were killed are removed first.

    Raises:
        NoPrivateFolderError: it cannot be made in the temporary folder, and neither in ``/tmp``.
    """
    parents = _parents()
    _remove_abandoned(parents)
    folder, lock = _make(parents)
    try:
        with lock:
            yield folder
    finally:
        _remove(folder)


def _make(parents: list[Path]) -> tuple[Path, TextIO]:
    """Make a folder, and return it with its lock, which the kernel releases however this process ends."""
    while True:
        folder = _make_unlocked(parents)
        try:
            lock = (folder / _LOCK).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except FileNotFoundError:
            continue
        # Between these two lines another session may have taken it for one that was left behind.
        if (folder / _LOCK).exists():
            return folder, lock
        lock.close()


def _make_unlocked(parents: list[Path]) -> Path:
    errors = []
    for parent in parents:
        try:
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as error:
            errors.append(f"{parent}: {error.strerror}")
    raise NoPrivateFolderError(
        f"no folder for the files of a session can be made ({'; '.join(errors)}): free some space there, or name another "
        f"folder with TMPDIR, of at most {_LONGEST_PARENT} characters, as sockets lie in it"
    )


def _parents() -> list[Path]:
    """Folders in which such a folder may lie, the one to use first: sockets in it have to have short paths."""
    temporary = Path(tempfile.gettempdir())
    short = [temporary] if len(str(temporary)) <= _LONGEST_PARENT else []
    return list(dict.fromkeys([*short, Path("/tmp")]))


def _remove_abandoned(parents: list[Path]) -> None:
    """Remove what killed sessions of this user have left: folders whose lock nobody holds."""
    for folder in (found for parent in parents for found in parent.glob(f"{PREFIX}*")):
        # Other users' folders, and what is none of ours, cannot be opened or have no lock.
        with suppress(OSError):
            if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                continue
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > deadline:
            return
        if folder.exists():
            time.sleep(0.1)
