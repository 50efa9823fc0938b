"""Tracks: a teacher, images, a student, and the accuracy that is to be reached."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from orchestrator.errors import ConfigError, unknown_name
from trainables.config import Config, TrialConfig
from trainables.config.roles import Decides, Names, roles_of

_HOME = Path(__file__).parent


class Reference(Config):
    """What a track's rows are seen against; it is no row, since nobody here has run it by the rules."""

    name: str
    operations: float | None = None
    """In FLOP, by this project's counter."""

    note: str = ""


class Track(Config):
    """What is to be reached, and with what."""

    name: str
    description: str
    target: Annotated[float, Field(gt=0, lt=1)]
    """Test accuracy that the mean of a row's seeds must lie above."""

    trial: dict[str, Any]
    """Fields that every row has: images, teacher and student."""

    teacher_file: str | None = None
    """The teacher's weights in this package; none: the user gives them."""

    teacher_sha256: str
    """Of the teacher's file."""

    reference: Reference | None = None

    def teacher_path(self, given: str | None) -> str:
        """Return where the teacher's weights are.

        Args:
            given: The file that the user gives, if any.

        Raises:
            ConfigError: there is none, or it is another one.
        """
        if given is None and self.teacher_file is None:
            raise ConfigError(
                f"track {self.name}: give the weights of its {self.trial['teacher']} with --teacher FILE; its SHA-256 is "
                f"{self.teacher_sha256}"
            )
        path = Path(given) if given is not None else _HOME / "teachers" / str(self.teacher_file)
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(f"--teacher {path}: cannot be read: {error.strerror}") from error
        if found != self.teacher_sha256:
            raise ConfigError(
                f"--teacher {path}: SHA-256 {found}; the teacher of track {self.name} has {self.teacher_sha256}"
            )
        return str(path)


def recipe_fields(config: TrialConfig) -> dict[str, Any]:
    """Return what of a trial is a recipe: its method and settings but the student, and how long it trains."""
    return config.model_dump(mode="json", include=set(recipe_names(type(config))))


def recipe_names(model: type[TrialConfig]) -> list[str]:
    """Return the fields of a method that a recipe may set: no images, teacher or student, no seeds, no measurements."""
    inputs = [Decides.INPUT, Decides.SETTING, Decides.LENGTH, Decides.EXECUTION, Decides.PERMISSION]
    return [
        field
        for field, role in roles_of(model).items()
        if role.decides in inputs and role.names is Names.NOTHING and field != "student"
    ]


@cache
def tracks() -> dict[str, Track]:
    """Return all tracks by name."""
    content = yaml.safe_load((_HOME / "tracks.yaml").read_text(encoding="utf-8"))
    return {name: Track(name=name, **fields) for name, fields in content.items()}


def find_track(name: str) -> Track:
    """Return the track of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in tracks():
        raise ConfigError(unknown_name("track", name, list(tracks())))
    return tracks()[name]
