"""Parts that a config names: this project's own, and those from installed packages and files. Imports no torch.

A registry lists the names of parts of one kind, and loads a part on use: a config is checked in milliseconds, while most
parts import torch.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
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
"""Validation context for a stored config: rules that were added later do not apply to it, and the parts and files that it
names may have been removed or moved."""

_parts: dict[str, dict[str, str]] = {}
"""Parts that this process has loaded from files: their names for messages, by path of the file and name in the file."""

_LONGEST_FOLDER = 100
"""Maximum number of characters of a part's name in a key on storage."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")  # the name of a part also names a folder on storage


def folder_of(name: str) -> str:
    """Return a part's name in a form that can be one component of a key on storage.

    A ``FILE.py:NAME`` may contain folders and be longer than file systems allow.
    """
    flat = name.replace("/", "_")
    if len(flat) <= _LONGEST_FOLDER:
        return flat
    return f"{hashlib.sha256(name.encode()).hexdigest()[:16]}-{flat[-(_LONGEST_FOLDER - 17) :]}"


def installed(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group, by name."""
    return _installed(group, tuple(sys.path))


@cache
def _installed(group: str, _: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Return the entry points of a group on ``sys.path``: reading what all packages declare takes tens of milliseconds."""
    return {entry.name: entry for entry in entry_points(group=group) if _NAME.fullmatch(entry.name)}


def checked(check: Callable[[str], str]) -> AfterValidator:
    """Make a pydantic validator that checks names in new input, and accepts names in stored configs unchecked.

    Args:
        check: Function that returns a valid name unchanged and raises ``ValueError`` for any other.
    """

    def validate(name: str, info: ValidationInfo) -> str:
        return name if info.context == STORED else check(name)

    return AfterValidator(validate)


def load(path: str) -> Any:
    """Import and return the object that ``MODULE:NAME`` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def is_foreign(group: str, name: str) -> bool:
    """Return whether a name refers to a file or to an entry point in a group, so to a part that is not this project's."""
    return file_of(name) is not None or name in installed(group)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Parts of one kind that a config may name."""

    what: str
    """Word for a part of this kind in messages, such as ``divergence``."""

    group: str
    """Group of the entry points under which installed packages register parts of this kind."""

    own: Mapping[str, str]
    """This project's own parts: ``MODULE:NAME`` by name, imported on use."""

    @property
    def choices(self) -> list[str]:
        """Values that a field of this kind accepts, for help texts."""
        return [*self.own, "FILE.py:NAME"]

    def check(self, name: str) -> str:
        """Return the name unchanged if a part has that name.

        Raises:
            ValueError: no part has that name; the message lists the known names.
        """
        if name in self.own or name in installed(self.group):
            return name
        if not file_of(name):
            known = [*self.own, *sorted(installed(self.group)), "FILE.py:NAME"]
            raise ValueError(f"unknown {self.what} {name!r}; known: {', '.join(known)}")
        check_in_file(self.what, name)
        return name

    def origin(self, name: str) -> str:
        """Return a name for messages, followed by the object reference of the entry point if the name has one."""
        entry = installed(self.group).get(name)
        return f"{name} ({entry.value})" if entry else name

    def load(self, name: str) -> Any:
        """Import and return the part with a name.

        Raises:
            ValueError: no part has that name, or importing it fails.
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
    """Check that a ``FILE.py:NAME`` exists, without running the file.

    Args:
        what: Word for the kind of part, for messages.
        name: The file's path and the name in the file.

    Raises:
        ValueError: there is no such file, it cannot be read or parsed, or it does not define the name.
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
    """Return the object that ``FILE.py:NAME`` names; each process runs the file once.

    Raises:
        ValueError: the name does not exist (see ``check_in_file``), or the file fails; the message has the reason.
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
    """Return in one line why a file of the user's own fails, with a remedy if a module is missing."""
    told = in_a_line(error)
    if isinstance(error, ModuleNotFoundError):
        return f"{told}; only {file} itself is sent to the trials, so its imports must be installed where trials run"
    return told


def failing_part(error: BaseException) -> str | None:
    """Return the part from a user's file that raised an error, as ``network mine.py:Small``; None if no part raised it.

    If the error comes from a helper function in a file with several parts, all parts of the file are named.
    """
    for frame, _ in walk_tb(error.__traceback__):
        parts = _parts.get(frame.f_code.co_filename)
        if parts:
            return parts.get(frame.f_code.co_qualname.partition(".")[0]) or " or ".join(sorted(parts.values()))
    return None


@cache
def _definitions(file: str, content: bytes) -> frozenset[str]:
    """Return the names that a file defines at its top level, without running the file."""
    try:
        module = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error
    names: set[str] = set()
    waiting: list[ast.AST] = [module]
    while waiting:
        match waiting.pop():
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)  # names defined inside are not at the top level
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Import(names=imported) | ast.ImportFrom(names=imported):
                names |= {alias.asname or alias.name.partition(".")[0] for alias in imported}
            case node:
                waiting += ast.iter_child_nodes(node)
    return frozenset(names)
