"""Description of the user's own images, read from them once, so that a sweep's config is complete without the images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.sweep import trial_model
from orchestrator.errors import ConfigError
from trainables.config.own_images import as_image_size, split_address, unread_images
from trainables.errors import DataUnavailableError
from trainables.storage.addresses import expand_home, parse_address

Fetch = Callable[[str], Path]
"""A function that returns the local file or folder of an address, after fetching it if need be."""


def local_file(address: str) -> Path:
    """Return the path of an address that lies on this machine.

    Raises:
        ConfigError: the address is that of another place.
    """
    parsed = parse_address(address)
    if not parsed.is_local:
        raise ConfigError(
            f"dataset {parsed.shown} is not on this machine, and this reader of the sweep does not fetch it"
        )
    return expand_home(parsed.path)


def describe_images(
    trial: Mapping[str, Any],
    *,
    origin: str,
    teachers: Collection[str] = (),
    fetch: Fetch = local_file,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Add the description of the user's own images to a trial whose ``dataset`` is a folder or file of them.

    A trial that has the description already, or a named data set, is returned unchanged.

    Args:
        trial: Fields of the trial as they were given.
        origin: Where the fields come from, for messages.
        teachers: Names of teachers whose weights come from files, in addition to the trial's ``teacher_checkpoint``.
        fetch: Returns the local path of the images.
        say: Prints a line about the images and how they are converted.

    Raises:
        ConfigError: the images cannot be read or used, or contradict the trial's fields; or the method does not exist.
    """
    address = unread_images(trial)
    if address is None:
        return {**trial}
    # Imported here, since reading images needs torch, and a sweep of a named data set does not.
    from trainables.images.own import read_own_images

    shown = parse_address(address).shown
    teacher = trial.get("teacher", trial_model(trial, origin).model_fields["teacher"].default)
    try:
        images = read_own_images(
            fetch(address),
            origin=shown,
            image_size=as_image_size(trial.get("image_size")),
            channels=_as_channels(trial.get("channels")),
        )
    except (DataUnavailableError, ValueError) as error:
        raise ConfigError(f"{origin}: {error}") from error
    from_file = trial.get("teacher_checkpoint") is not None or teacher in teachers
    found = images.description(with_normalisation=not from_file and trial.get("normalisation") is None)
    for field in ("num_classes", "training_images", "test_images"):
        if trial.get(field) is not None and str(trial[field]) != str(found[field]):
            raise ConfigError(
                f"{origin}: {field}={trial[field]}: the images of {shown} have {found[field]}; leave it out"
            )
    for line in images.in_words():
        say(f"dataset {shown}: {line}")
    return {**trial, **split_address(trial), **found}


def _as_channels(value: object) -> int | None:
    """Return the number of channels to convert images to, checked here because the config is checked only after reading.

    Raises:
        ValueError: the number is not 1 to 4.
    """
    if value is None or str(value) in {"1", "2", "3", "4"}:
        return None if value is None else int(str(value))
    raise ValueError(
        f"channels={value}: allowed are 1 (grey), 2 (grey with alpha), 3 (colour) and 4 (colour with alpha)"
    )
