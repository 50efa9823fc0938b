"""Findings of the checks of ``zskt doctor``: one line each, with a remedy for a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "problem", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The finding of one check, printed as one line."""

    outcome: Outcome
    what: str
    """Name of the check."""

    text: str
    """What was found; for a problem with the remedy."""

    def __str__(self) -> str:
        return f"{self.outcome:8} {self.what}: {self.text}"


def ok(what: str, text: str) -> Finding:
    """Return the finding of a check that found nothing wrong."""
    return Finding(outcome="ok", what=what, text=text)


def problem(what: str, text: str) -> Finding:
    """Return the finding of a check that found something wrong."""
    return Finding(outcome="problem", what=what, text=text)


def skipped(what: str, text: str) -> Finding:
    """Return the finding of a check that could not be made, with the reason."""
    return Finding(outcome="skipped", what=what, text=text)
