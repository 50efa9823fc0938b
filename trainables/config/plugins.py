"""Parts that are named in a config: this project's own, and what others bring by a package or a file. Free of torch.

A registry tells which names there are, and loads what a name stands for on use: a config is checked in milliseconds, while
what its names stand for brings torch.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import walk_tb
from typing import Any

from pydantic import AfterValidator, ValidationInfo

from trainables.errors import in_a_line
from trainables.system.own_files import file_of, is_held, own_file, run_file

STORED = "stored"
"""Context of validating what a session has written down: rules that came later are not held against it, and what it names
may be gone, or lie elsewhere."""

_parts: dict[str, dict[str, str]] = {}
"""What this process has loaded from files: by file and name in it, how it is called in messages."""

_LONGEST_FOLDER = 100
"""Characters of a part's name in a key on storage."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")  # becomes a folder of the storage


def folder_of(name: str) -> str:
    """Return the name of a part as part of a key on storage: that of a file may have folders before it, and be longer than
    what file systems take."""
    flat = name.replace("/", "_")
    if len(flat) <= _LONGEST_FOLDER:
        return flat
    return f"{hashlib.sha256(name.encode()).hexdigest()[:16]}-{flat[-(_LONGEST_FOLDER - 17) :]}"


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
    return file_of(name) is not None or name in installed(group)


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
        if not file_of(name):
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


def check_in_file(what: str, name: str) -> None:
    """Refuse a ``FILE.py:NAME`` that nothing has, without running the file.

    Args:
        what: What is named, for messages.
        name: The file's path and the name in it.

    Raises:
        ValueError: there is no such file, or it defines no such name.
    """
    file, _, defined = name.rpartition(":")
    if not is_held(file) and not Path(file).is_file():
        here = "" if Path(file).is_absolute() else f" in {Path.cwd()}, where this command runs"
        raise ValueError(f"{what} {name!r}: there is no file {file}{here}")
    try:
        content = own_file(file).content
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from error
    if defined not in _definitions(file, content):
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
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what} {name!r}: {file} fails: {why_it_fails(error, file)}") from error
    _parts.setdefault(own_file(file).path, {})[defined] = f"{what} {name}"
    return part


def why_it_fails(error: BaseException, file: str) -> str:
    """Return in one line why a file of the user's own fails, and what to do where it is known."""
    told = in_a_line(error)
    if isinstance(error, ModuleNotFoundError):
        return f"{told}; {file} goes to the trials alone, so what it imports must be installed where they run"
    return told


def failing_part(error: BaseException) -> str | None:
    """Return which part of a file an error comes from, as ``network mine.py:Small``; None where it comes from elsewhere.

    Several parts may share a file, and a function of it that is none of them: then all of them are named.
    """
    for frame, _ in walk_tb(error.__traceback__):
        parts = _parts.get(frame.f_code.co_filename)
        if parts:
            return parts.get(frame.f_code.co_qualname.partition(".")[0]) or " or ".join(sorted(parts.values()))
    return None


@cache
def _definitions(file: str, content: bytes) -> frozenset[str]:
    """Return what a file defines at its top level, without running it."""
    try:
        module = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error
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
    return frozenset(names)
