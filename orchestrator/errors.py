"""What can go wrong in a sweep that a user can mend.

    ZsktError                   exit code 1
      |- ConfigError            exit code 2: a field, value, preset or flag is wrong
      |    `- SweepMismatchError    the sweep id belongs to a sweep with other settings
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
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError

from orchestrator.config.messages import allowed_values


class ZsktError(Exception):
    """Root of the tree above."""

    exit_code = 1


class ConfigError(ZsktError):
    """The user's settings are wrong."""

    exit_code = 2


class SweepMismatchError(ConfigError):
    """A sweep cannot go on under other settings than it began with."""


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


def config_error(error: ValidationError, model: type[BaseModel], origin: str) -> ConfigError:
    """Turn pydantic's findings into one line each: field, value, and what is allowed.

    Args:
        origin: Where the values come from, e.g. a preset's file name.
    """
    lines = []
    for finding in error.errors():
        path = [str(part) for part in finding["loc"]]
        if len(path) == 2 and finding["type"] in {"string_type", "dict_type"}:
            path = path[:1]  # of a field that may be one or the other pydantic speaks twice
        owner = _owner(model, path)
        message = finding["msg"].removeprefix("Value error, ")
        if not path:
            lines.append(message)
        elif finding["type"] == "extra_forbidden" and owner:
            inside = "".join(f"{part}: " for part in path[:-1])
            lines.append(inside + unknown_name("field", path[-1], owner.model_fields))
        elif finding["type"] == "secret":
            lines.append(f"{'.'.join(path)}: {message}")
        elif finding["type"] == "value_error" or owner is None:
            lines.append(f"{'.'.join(path)}={finding['input']!r}: {message}")
        else:
            allowed = allowed_values(owner, path[-1])
            lines.append(f"{'.'.join(path)}={finding['input']!r}: not allowed; {path[-1]} must be {allowed}")
    return ConfigError(f"{origin}: " + "\n".join(dict.fromkeys(lines)))


def _owner(model: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    """The model that the last part of a path is a field of; none if the path leads into something else."""
    for part in path[:-1]:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        model = field.annotation
    return model


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """``unknown field 'student_stepz'; did you mean student_steps? Known: ...``."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown {kind} {name!r}; {hint}Known: {', '.join(known)}"
