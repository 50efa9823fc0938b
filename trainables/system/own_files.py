"""Python files of the user's own, named as ``FILE.py:NAME`` in settings.

Each process reads a file once and runs the content that it has read.

The bytes that are hashed, sent to other machines and kept with the results are exactly the bytes that run, even if the file
changes meanwhile. A file is identified by its name in the settings, not by its path.

Settings from a storage may name any file of this machine, and people other than the user may have written them. Code that
reads such settings therefore calls ``distrust``. A file that only a storage has named is neither read nor run until a caller
that knows the right content provides it by ``hold``.
"""

from __future__ import annotations

import hashlib
import linecache
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from errno import EPERM
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

_NAMED = re.compile(r"(?P<file>.+\.py):[^\W\d]\w*", re.DOTALL)


@dataclass(frozen=True)
class OwnFile:
    """File of the user's own, with its content when it was read."""

    name: str
    """Name of the file in settings, as in ``FILE.py:NAME``."""

    path: str
    """Absolute path that the file was read from, perhaps on another machine."""

    content: bytes

    @cached_property
    def sha256(self) -> str:
        """SHA-256 checksum of the content, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()


_held: dict[str, OwnFile] = {}
"""Files that this process has read or was given, by name. Like modules, they are shared by the whole process."""

_distrusted: set[str] = set()
"""Names of files that a storage has named before anything else did."""


class DistrustedFileError(PermissionError):
    """A file is named only by settings from a storage, so it is not run."""


def file_of(name: object) -> str | None:
    """Return the file of ``FILE.py:NAME``; None for anything else."""
    found = _NAMED.fullmatch(name) if isinstance(name, str) else None
    return found["file"] if found else None


def files_in(content: object, *, field: str = "") -> set[str]:
    """Return the files that settings name anywhere, in values and keys of mappings and in collections, at any depth.

    Args:
        content: Settings, or a part of settings.
        field: Field whose value ``content`` is; the value of ``metrics`` is a comma-separated list of names.
    """
    match content:
        case str():
            names = content.split(",") if field == "metrics" else [content]
            return {file for name in names if (file := file_of(name.strip())) is not None}
        case Mapping():
            return {file for key, value in content.items() for file in files_in(key) | files_in(value, field=str(key))}
        case list() | tuple() | set():
            return {file for value in content for file in files_in(value)}
    return set()


def own_file(name: str) -> OwnFile:
    """Return a file with the content that this process runs; the first call reads the file.

    Raises:
        OSError: the file cannot be read.
        DistrustedFileError: only settings from a storage name the file.
    """
    if name not in _held:
        if name in _distrusted:
            raise DistrustedFileError(EPERM, "only settings from a storage name this file, so it is not run", name)
        _held[name] = read_file(name, Path(name))
    return _held[name]


def distrust(content: object) -> None:
    """Mark the files that settings from a storage name (see ``files_in``) as not to be run, unless already read or held."""
    _distrusted.update(files_in(content) - _held.keys())


def is_held(name: str) -> bool:
    """Return whether this process has read a file or was given its content."""
    return name in _held


def read_file(name: str, path: Path) -> OwnFile:
    """Read a file from this machine's disk, even if this process already holds another content.

    Raises:
        OSError: the file cannot be read.
    """
    return OwnFile(name=name, path=str(path.resolve()), content=path.read_bytes())


def hold(files: Iterable[OwnFile]) -> None:
    """Let this process run the given contents for these files' names, whatever is on disk."""
    _held.update({file.name: file for file in files})


def forget() -> None:
    """Forget all files, so that each is read anew at its next use, as in a new process."""
    _held.clear()
    _distrusted.clear()


def checksums(content: object) -> dict[str, str]:
    """Return the SHA-256, by name, of each file that settings name (see ``files_in``), as this process runs the file.

    Raises:
        OSError: a file cannot be read.
    """
    return {name: own_file(name).sha256 for name in sorted(files_in(content))}


def content_of(name: str) -> str:
    """Return the checksum of the file of ``FILE.py:NAME``, for cache keys: a changed file is another entry.

    The result is empty for any other name, and if the file cannot be read; loading the file then raises the error.
    """
    try:
        return "".join(checksums([name]).values())
    except OSError:
        return ""


def run_file(name: str) -> Mapping[str, Any]:
    """Run a file and return its global names; each content runs once per process, so that its classes stay identical.

    Raises:
        OSError: the file cannot be read.
        Exception, SystemExit: raised by the file.
    """
    file = own_file(name)
    return _run(file.path, file.content)


@cache
def _run(path: str, content: bytes) -> dict[str, Any]:
    module = ModuleType(f"own_file_{hashlib.sha256(path.encode() + content).hexdigest()[:16]}")
    module.__file__ = path
    # Tracebacks and ``inspect`` find the source in this cache, even on machines without the file.
    text = content.decode(errors="replace")
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    # Dataclasses look up their module while it runs. Afterwards the module is removed, so that Ray pickles by value.
    sys.modules[module.__name__] = module
    try:
        exec(compile(content, path, "exec"), module.__dict__)  # the user has named this file in order to run it
    finally:
        del sys.modules[module.__name__]
    return module.__dict__
