"""Tracks: a data set, a teacher, a student, and a target accuracy."""

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
    """A known result for comparison with a track's rows; it is not a row, since it was not run under the rules."""

    name: str
    operations: float | None = None
    """FLOPs of training by this project's counter. None if they are not known."""

    note: str = ""


class Track(Config):
    """A task: the target accuracy, and the data set, teacher and student with which it is to be reached."""

    name: str
    description: str
    target: Annotated[float, Field(gt=0, lt=1)]
    """Test accuracy that the mean over a row's seeds must exceed."""

    trial: dict[str, Any]
    """Fields that are the same for every row: data set, teacher and student."""

    teacher_file: str | None = None
    """File name of the teacher's weights in this package. None if the user must supply the weights."""

    teacher_sha256: str
    """SHA-256 of the file with the teacher's weights."""

    reference: Reference | None = None

    def teacher_path(self, given: str | None) -> str:
        """Return the path of the teacher's weights, after checking their SHA-256.

        Args:
            given: The file that the user supplies. None means the file in this package.

        Raises:
            ConfigError: there is no file, the file cannot be read, or its SHA-256 differs from the track's.
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
    """Return the fields of a trial that make up its recipe: the method, its settings and its length."""
    return config.model_dump(mode="json", include=set(recipe_names(type(config))))


def recipe_names(model: type[TrialConfig]) -> list[str]:
    """Return the names of the fields that a recipe may set.

    Data set, teacher, student, seeds and measurements are not part of a recipe.
    """
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
    """Return the track with this name.

    Raises:
        ConfigError: no track has this name.
    """
    if name not in tracks():
        raise ConfigError(unknown_name("track", name, list(tracks())))
    return tracks()[name]
