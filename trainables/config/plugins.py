"""Parts that are named in a config: this project's own, and what others bring by a package or a file. Free of torch.

A registry tells which names there are, and loads what a name stands for on use: a config is checked in milliseconds, while
what its names stand for brings torch.
"""

from __future__ import annotations

import ast
import hashlib
import re
import runpy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import walk_tb
from typing import Any

from pydantic import AfterValidator, ValidationInfo

from trainables.storage.filesystems import LocalFilesystem
from trainables.storage.user_cache import cache_folder

STORED = "stored"
"""Context of validating what a session has written down: rules that came later are not held against it, and what it names
may be gone, or lie elsewhere."""

_parts: dict[str, dict[str, str]] = {}
"""What this process has loaded from files: by file and name in it, how it is called in messages."""

_places: dict[str, Path] = {}
"""Files that lie elsewhere for this process than where their names say, by name: see ``place_file``."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")  # becomes a folder of the storage


def folder_of(name: str) -> str:
    """Return the name of a part as part of a key on storage: that of a file may have folders before it."""
    return name.replace("/", "_")


def installed(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group, by name."""
    return {entry.name: entry for entry in entry_points(group=group) if _NAME.fullmatch(entry.name)}


def checked(check: Callable[[str], str]) -> AfterValidator:
    """Make the check of a field's type that holds new input to what is there, and reads as it is what was stored.

    Args:
        check: Returns a name unchanged, or raises ``ValueError``.
    """

    def validate(name: str, info: ValidationInfo) -> str:
        return name if info.context == STORED else check(name)

    return AfterValidator(validate)


def load(path: str) -> Any:
    """Return what ``MODULE:NAME`` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def is_foreign(group: str, name: str) -> bool:
    """Whether a name is one of a file, or of an entry point in a group: of a part that is not this project's."""
    return ".py:" in name or name in installed(group)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """The parts of one kind that a config may name."""

    what: str
    """What they are, for messages: ``divergence``."""

    group: str
    """Group of the entry points by which installed packages bring others."""

    own: Mapping[str, str]
    """This project's own: ``MODULE:NAME`` by name, imported on use."""

    @property
    def choices(self) -> list[str]:
        """What a field of this kind accepts, in words."""
        return [*self.own, "FILE.py:NAME"]

    def check(self, name: str) -> str:
        """Return the name unchanged if something has it.

        Raises:
            ValueError: nothing has; the message gives what is known.
        """
        if name in self.own or name in installed(self.group):
            return name
        if ".py:" not in name:
            known = [*self.own, *sorted(installed(self.group)), "FILE.py:NAME"]
            raise ValueError(f"unknown {self.what} {name!r}; known: {', '.join(known)}")
        check_in_file(self.what, name)
        return name

    def origin(self, name: str) -> str:
        """Return a name with what an entry point says of it, for messages."""
        entry = installed(self.group).get(name)
        return f"{name} ({entry.value})" if entry else name

    def load(self, name: str) -> Any:
        """Return what a name stands for.

        Raises:
            ValueError: nothing has that name.
        """
        self.check(name)
        if name in self.own:
            return load(self.own[name])
        entries = installed(self.group)
        if name not in entries:
            return load_from_file(self.what, name)
        try:
            return entries[name].load()
        except (Exception, SystemExit) as error:
            raise ValueError(
                f"{self.what} {self.origin(name)} cannot be loaded: {type(error).__name__}: {error}"
            ) from error


def files_in(values: Iterable[object]) -> list[str]:
    """Return the files of those values that are one or several ``FILE.py:NAME`` with commas between them, each once."""
    names = [
        name.strip() for value in values if isinstance(value, str) and ".py:" in value for name in value.split(",")
    ]
    return sorted({name.rpartition(":")[0] for name in names if ".py:" in name})


def file_path(file: str) -> Path:
    """Return where a file of the user's own lies for this process: where its name says, unless it was placed elsewhere."""
    return _places.get(file, Path(file))


def place_file(file: str, path: Path) -> None:
    """Have a file of the user's own found elsewhere than where its name says, by this process from now on.

    Args:
        file: Its name, as in ``FILE.py:NAME``.
        path: Where it lies.
    """
    _places[file] = path


def place_copies(contents: Mapping[str, bytes]) -> None:
    """Have this process find files of the user's own with these contents, whatever lies on its machine.

    Args:
        contents: By the files' names. A file that lies there as it should is used where it is; of another one a copy is
            made in the user's cache, under its checksum.
    """
    for file, content in contents.items():
        if _holds(Path(file), content):
            place_file(file, Path(file))
            continue
        copy = cache_folder() / "code" / hashlib.sha256(content).hexdigest() / Path(file).name
        if not _holds(copy, content):
            LocalFilesystem().write(str(copy), content)
        place_file(file, copy)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def check_in_file(what: str, name: str) -> None:
    """Refuse a ``FILE.py:NAME`` that nothing has, without running the file.

    Args:
        what: What is named, for messages.
        name: The file's path and the name in it.

    Raises:
        ValueError: there is no such file, or it defines no such name.
    """
    file, _, defined = name.rpartition(":")
    path = file_path(file)
    if not path.is_file():
        here = "" if Path(file).is_absolute() else f" in {Path.cwd()}, where this command runs"
        raise ValueError(f"{what} {name!r}: there is no file {file}{here}")
    if defined not in _definitions(path):
        raise ValueError(f"{what} {name!r}: {file} defines no {defined}")


def load_from_file(what: str, name: str) -> Any:
    """Return what ``FILE.py:NAME`` names; the file is run once in a process.

    Raises:
        ValueError: nothing has that name, see ``check_in_file``, or the file fails; the message says of what.
    """
    check_in_file(what, name)
    file, _, defined = name.rpartition(":")
    try:
        part = run_file(file)[defined]
    except ValueError as error:
        raise ValueError(f"{what} {name!r}: {error}") from error
    _parts.setdefault(str(file_path(file).resolve()), {})[defined] = f"{what} {name}"
    return part


def run_file(file: str) -> Mapping[str, Any]:
    """Return what a file of the user's own defines; it is run once in a process.

    Raises:
        ValueError: it fails; the message says of what.
    """
    try:
        return _run_once(file_path(file).resolve())
    except (Exception, SystemExit) as error:
        raise ValueError(f"{file} fails: {type(error).__name__}: {error}") from error


def failing_part(error: BaseException) -> str | None:
    """Return which part of a file an error comes from, as ``network mine.py:Small``; None where it comes from elsewhere.

    Several parts may share a file, and a function of it that is none of them: then all of them are named.
    """
    for frame, _ in walk_tb(error.__traceback__):
        parts = _parts.get(frame.f_code.co_filename)
        if parts:
            return parts.get(frame.f_code.co_qualname.partition(".")[0]) or " or ".join(sorted(parts.values()))
    return None


def _definitions(file: Path) -> set[str]:
    """Return what a file defines at its top level, without running it."""
    try:
        module = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from error
    names: set[str] = set()
    waiting: list[ast.AST] = [module]
    while waiting:
        match waiting.pop():
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)  # what it holds is its own
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Import(names=imported) | ast.ImportFrom(names=imported):
                names |= {alias.asname or alias.name.partition(".")[0] for alias in imported}
            case node:
                waiting += ast.iter_child_nodes(node)
    return names


@cache
def _run_once(file: Path) -> dict[str, Any]:
    """Return what a file defines; its classes are the same ones each time."""
    return runpy.run_path(str(file))
