"""Python files of the user's own, which settings name as ``FILE.py:NAME``: read once in a process, and run as read.

What is hashed, sent to other machines and kept beside results are the very bytes that run, whatever becomes of the file
meanwhile. A file is known by its name in the settings; where it lies is another matter.

Settings that come from a storage may name any file of this machine, and whoever may write there is not the user. So whatever
reads them says so (``distrust``), and a file that nothing but a storage has named is neither read nor run until somebody who
knows it to be the right one holds it (``hold``).
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
    """A file as it was read."""

    name: str
    """As in ``FILE.py:NAME``."""

    path: str
    """Where it was read: absolute, perhaps on another machine."""

    content: bytes

    @cached_property
    def sha256(self) -> str:
        """Checksum of the content, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()


_held: dict[str, OwnFile] = {}
"""Files of this process, by name. Names are process-wide, as those of modules are."""

_distrusted: set[str] = set()
"""Names that came from a storage before anything else named them."""


class DistrustedFileError(PermissionError):
    """Settings from a storage name a file, and nothing else does."""


def file_of(name: object) -> str | None:
    """Return the file of ``FILE.py:NAME``; None of anything else."""
    found = _NAMED.fullmatch(name) if isinstance(name, str) else None
    return found["file"] if found else None


def files_in(content: object, *, field: str = "") -> set[str]:
    """Return the files that settings name, however deep in mappings, as keys too, and in collections they do.

    Args:
        content: Settings, or a part of them.
        field: Field whose value ``content`` is: that of ``metrics`` are several names with commas between them.
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
    """Return a file as this process runs it; it is read if it has not been.

    Raises:
        OSError: it cannot be read; a ``DistrustedFileError`` where only a storage names it.
    """
    if name not in _held:
        if name in _distrusted:
            raise DistrustedFileError(EPERM, "it is named by settings from a storage alone, and not run for that", name)
        _held[name] = read_file(name, Path(name))
    return _held[name]


def distrust(content: object) -> None:
    """Have the files that settings from a storage name, see ``files_in``, not be run for that."""
    _distrusted.update(files_in(content) - _held.keys())


def is_held(name: str) -> bool:
    """Whether this process has read a file, or was given it."""
    return name in _held


def read_file(name: str, path: Path) -> OwnFile:
    """Return a file as it is on this disk now, whatever this process holds.

    Raises:
        OSError: it cannot be read.
    """
    return OwnFile(name=name, path=str(path.resolve()), content=path.read_bytes())


def hold(files: Iterable[OwnFile]) -> None:
    """Have this process run these files by their names, whatever lies on its disk."""
    _held.update({file.name: file for file in files})


def forget() -> None:
    """Have files read anew when they are next named, as another process would."""
    _held.clear()
    _distrusted.clear()


def checksums(content: object) -> dict[str, str]:
    """Return the SHA-256 of each file that settings name, see ``files_in``, by name, as this process runs it.

    Raises:
        OSError: one cannot be read.
    """
    return {name: own_file(name).sha256 for name in sorted(files_in(content))}


def content_of(name: str) -> str:
    """Return what tells apart things of one name in caches: the checksum of the file that ``FILE.py:NAME`` is of.

    Empty for any other name, and where the file cannot be read, which whoever loads it says.
    """
    try:
        return "".join(checksums([name]).values())
    except OSError:
        return ""


def run_file(name: str) -> Mapping[str, Any]:
    """Return what a file defines; each content is run once in a process, so that its classes are the same ones each time.

    Raises:
        OSError: it cannot be read.
        Exception, SystemExit: what the file raises.
    """
    file = own_file(name)
    return _run(file.path, file.content)


@cache
def _run(path: str, content: bytes) -> dict[str, Any]:
    module = ModuleType(f"own_file_{hashlib.sha256(path.encode() + content).hexdigest()[:16]}")
    module.__file__ = path
    # Tracebacks and ``inspect`` find the source here, also where no such file is.
    text = content.decode(errors="replace")
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    # Dataclasses look their module up. Later it is not to be found, so that Ray sends what the file defines by value.
    sys.modules[module.__name__] = module
    try:
        exec(compile(content, path, "exec"), module.__dict__)  # the user has named the file to have it run
    finally:
        del sys.modules[module.__name__]
    return module.__dict__
