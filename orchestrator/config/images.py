"""What a new sweep says of images of the user's own: read from them once, so that its config is complete without them."""

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
"""Finds the file or folder of an address on this machine, to which it may have to be fetched first."""


def local_file(address: str) -> Path:
    """Return the file or folder of an address that lies on this machine.

    Raises:
        ConfigError: it lies elsewhere.
    """
    parsed = parse_address(address)
    if not parsed.is_local:
        raise ConfigError(f"dataset {parsed.shown} lies elsewhere, and whoever reads this sweep does not fetch it")
    return expand_home(parsed.path)


def describe_images(
    trial: Mapping[str, Any],
    *,
    origin: str,
    teachers: Collection[str] = (),
    fetch: Fetch = local_file,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Complete a trial whose ``dataset`` is a folder or file of the user's own images, unless that has been done before.

    Args:
        trial: Its fields as they were given.
        origin: Where they come from, for messages.
        teachers: Names of teachers that come from files beside the trial's own ``teacher_checkpoint``.
        fetch: Finds the images on this machine.
        say: Is told what they are, and what is done to them.

    Raises:
        ConfigError: they cannot be read or used, or are not what the trial says of them; or there is no such method.
    """
    address = unread_images(trial)
    if address is None:
        return {**trial}
    # The images bring torch, for which a sweep of a named data set need not wait.
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
    """The number of channels that images are converted to, which the config checks only after they are read."""
    if value is None or str(value) in {"1", "2", "3", "4"}:
        return None if value is None else int(str(value))
    raise ValueError(
        f"channels={value}: allowed are 1 (grey), 2 (grey with alpha), 3 (colour) and 4 (colour with alpha)"
    )
