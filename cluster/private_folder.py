"""A folder for the length of a session that only this user's processes can enter.

It holds the files that Ray, Tune and this program write on a machine during a session: sockets, logs, scratch files and
heartbeats. In the shared temporary folder every user of the machine could read these files or put others in their place.
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
"""Prefix of the folders' names."""

VARIABLE = "ZSKT_PRIVATE_FOLDER"
"""Environment variable that holds the folder's path for the processes of a session on this machine."""

_LOCK = ".session"
"""File in the folder that its session keeps locked; it also marks the folder as made by this program."""

_LONGEST_PARENT = 24
"""Maximum length of a parent folder's path, in characters. The folder's name adds 18 and Ray's sockets up to 64; macOS
allows socket paths of 103 characters, and Linux of 107."""

_PATIENCE = 5.0
"""Seconds during which removal is retried, since processes that are ending may still write into the folder."""


class NoPrivateFolderError(RuntimeError):
    """No private folder can be made; the message names the parent folders that were tried."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder of mode 0700 for the length of a block, and remove it with its contents at the end.

    Folders that killed sessions of this user left behind are removed first.

    Raises:
        NoPrivateFolderError: the folder can be made neither in the temporary folder nor in ``/tmp``.
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
        # Before the lock was held, another session may have taken the folder for an abandoned one and removed it.
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
    """Return the parent folders to try: the temporary folder, unless its path is too long for sockets, then ``/tmp``."""
    temporary = Path(tempfile.gettempdir())
    short = [temporary] if len(str(temporary)) <= _LONGEST_PARENT else []
    return list(dict.fromkeys([*short, Path("/tmp")]))


def _remove_abandoned(parents: list[Path]) -> None:
    """Remove the folders of killed sessions of this user: those whose lock no process holds."""
    for folder in (found for parent in parents for found in parent.glob(f"{PREFIX}*")):
        # Other users' folders cannot be opened, and folders of other programs have no lock file.
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
