"""What can go wrong in a sweep that a user can mend.

    ZsktError                   exit code 1
      |- ConfigError            exit code 2: a field, value, preset or flag is wrong
      |    `- SweepMismatchError    the sweep id belongs to a sweep with other settings
      |- SweepBusyError         another process is running this sweep
      |- SweepNotFoundError     no results under this id
      `- StorageError           storage cannot be used: address, rights, or the folder is not ours

``trainables.errors.TrialError`` is the tree's other half. The command line prints the message of either without a
stack trace; each says what is wrong, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError

from trainables.config import allowed_values


class ZsktError(Exception):
    """Root of the tree above."""

    exit_code = 1


class ConfigError(ZsktError):
    """The user's settings are wrong."""

    exit_code = 2


class SweepMismatchError(ConfigError):
    """A sweep cannot go on under other settings than it began with."""


class SweepBusyError(ZsktError):
    """Two drivers of one sweep would overwrite each other."""


class SweepNotFoundError(ZsktError):
    """There is nothing to show."""


class StorageError(ZsktError):
    """Results and checkpoints have no place to go."""


def config_error(error: ValidationError, model: type[BaseModel], origin: str) -> ConfigError:
    """Turn pydantic's findings into one line each: field, value, and what is allowed.

    Args:
        origin: Where the values come from, e.g. a preset's file name.
    """
    lines = []
    for finding in error.errors():
        field = str(finding["loc"][0]) if finding["loc"] else ""
        if finding["type"] == "extra_forbidden":
            lines.append(unknown_name("field", field, model.model_fields))
        elif not field:
            lines.append(finding["msg"].removeprefix("Value error, "))
        else:
            lines.append(f"{'.'.join(map(str, finding['loc']))}={finding['input']!r}: {_reason(finding, model, field)}")
    return ConfigError(f"{origin}: " + "\n".join(lines))


def _reason(finding: object, model: type[BaseModel], field: str) -> str:
    message = finding["msg"].removeprefix("Value error, ")  # type: ignore[index]
    if finding["type"] == "value_error" or len(finding["loc"]) > 1:  # type: ignore[index]
        return str(message)
    return f"not allowed; {field} must be {allowed_values(model, field)}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """``unknown field 'student_stepz'; did you mean student_steps? Known: ...``."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown {kind} {name!r}; {hint}Known: {', '.join(known)}"
