"""What all commands share: options, and errors as messages."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from orchestrator.errors import ConfigError, ZsktError
from orchestrator.output import Output, standard_error
from trainables.errors import TrialError

if TYPE_CHECKING:
    from orchestrator.analysis.leaderboard import Leaderboard
    from orchestrator.config import SweepConfig
    from orchestrator.config.blocks import StorageConfig

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

Verbose = Annotated[bool, typer.Option("--verbose", help="Show the stack trace of an error.")]
Objective = Annotated[
    str | None,
    typer.Option(metavar="METRIC", help="What the search goes by, such as data_free_score. Default: the preset's."),
]
Storage = Annotated[
    str | None,
    typer.Option("--storage", metavar="URI", help="Folder or s3://bucket/prefix for everything that is kept."),
]
CreateBucket = Annotated[
    bool, typer.Option("--create-bucket", help="Make the bucket of the storage if it is not there.")
]

Cpus = Annotated[float | None, typer.Option("--cpus", help="CPU cores, and threads, for each trial.")]


def _parse_gpus(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a number nor auto") from error


Gpus = Annotated[
    float | None,  # or "auto": typer takes no union here, and leaves what it is to the parser
    typer.Option(
        "--gpus",
        parser=_parse_gpus,
        metavar="GPUS",
        help="GPUs for each trial; a fraction shares one, auto takes what there is.",
    ),
]
Prices = Annotated[
    str | None,
    typer.Option(
        "--prices", metavar="FILE", help="What machines cost, shaped as cluster/prices.yaml, before its prices."
    ),
]
DataRoot = Annotated[
    str | None, typer.Option("--data-root", metavar="FOLDER", help="Where torchvision's data sets are.")
]
Teachers = Annotated[
    list[str] | None,
    typer.Option("--teacher", metavar="NETWORK=FILE", help="Published weights of a teacher; may be given again."),
]
TrustCode = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-code",
        metavar="SHA256",
        help="Let this file of your own run in a sweep begun with another, or its copy on the storage; may be given again.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Ray cluster: an address, auto, or local. Default: one that is there, else local."),
]


def storage_config(storage: str | None) -> StorageConfig:
    """What ``--storage`` names; without it the default.

    Raises:
        ConfigError: the address holds what it must not.
    """
    # pydantic and the config take as long to load as all else that --help needs.
    from pydantic import ValidationError

    from orchestrator.config.blocks import StorageConfig
    from orchestrator.config.messages import config_error

    try:
        return StorageConfig() if storage is None else StorageConfig.model_validate(storage)
    except ValidationError as error:
        raise config_error(error, StorageConfig, "--storage") from error


def make_bucket(storage: StorageConfig, out: Output) -> None:
    """What ``--create-bucket`` asks for.

    Raises:
        StorageError: the bucket cannot be made.
    """
    # What is slow to load waits until the arguments are known to be right.
    from orchestrator.storage import shown
    from orchestrator.storage.bucket import create_bucket

    if create_bucket(storage):
        out.say(f"made the bucket of {shown(storage)}")


def teachers_by_network(assignments: list[str]) -> dict[str, str]:
    """What ``--teacher`` names.

    Raises:
        ConfigError: one of them is not NETWORK=FILE.
    """
    pairs = [assignment.partition("=") for assignment in assignments]
    for network, _, file in pairs:
        if not network or not file:
            raise ConfigError(f"--teacher {network}: expected NETWORK=FILE, for example wrn-16-2=wrn-16-2.pt")
    return {network: file for network, _, file in pairs}


def fetch_images(address: str) -> Path:
    """Return where images of the user's own lie on this machine, fetched there from an address elsewhere.

    Raises:
        DataUnavailableError: there are none.
        StorageError, StorageRefusedError: their storage cannot be used.
    """
    from orchestrator.inputs.files import fetch_dataset  # brings torch, as reading the images does

    return fetch_dataset(address)


def check_output(path: Path | None) -> None:
    """Raises: ConfigError: a file could not be written there. Asked before the work whose result it is to hold."""
    if path is None:
        return
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"--output {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"--output {path}: this is a folder; name a file in it")
    if not os.access(path if path.exists() else path.resolve().parent, os.W_OK):
        raise ConfigError(f"--output {path}: cannot be written there; name another place")


@contextmanager
def errors_as_messages(verbose: bool) -> Iterator[None]:
    """What a user can mend is a message without a stack trace, and an exit code."""
    try:
        yield
    except (ZsktError, TrialError) as error:
        if verbose:
            raise
        standard_error().error(f"error: {error}")
        raise typer.Exit(getattr(error, "exit_code", 1)) from error


def complete_preset(incomplete: str) -> list[str]:
    """For the shell: presets that begin like this."""
    # pydantic and the config take as long to load as all else that --help needs.
    from search_spaces.presets import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def with_resources(config: SweepConfig, cpus: float | None, gpus: float | str | None) -> SweepConfig:
    """The sweep with the resources that options name for each trial, where they do."""
    changes = {key: value for key, value in {"cpu": cpus, "gpu": gpus}.items() if value is not None}
    return config.with_resources(**changes) if changes else config


def program(name: str, *arguments: str) -> str:
    """How to call a program of this environment from here: by its name if that finds it, else by its path."""
    ours = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and Path(found) == ours:
        return shlex.join([name, *arguments])
    inside = ours.is_relative_to(Path.cwd())
    return shlex.join([str(ours.relative_to(Path.cwd()) if inside else ours), *arguments])


def this_command() -> str:
    """How ``sweep`` was called, without its arguments."""
    called = Path(sys.argv[0])
    return program("zskt", "sweep") if called.name == "zskt" else program("python", str(called))


def same_command() -> str:
    """The command that runs, as one would type it again."""
    called = Path(sys.argv[0])
    how = program("zskt") if called.name == "zskt" else program("python", str(called))
    return f"{how} {shlex.join(sys.argv[1:])}"


def stop_here(out: Output) -> NoReturn:
    """End a command that was interrupted, with how to go on."""
    out.say(f"Stopped. The same command goes on: {same_command()}")
    raise typer.Exit(INTERRUPTED)


def read_board_to_run(
    sweep_id: str, storage: str | None, trust_code: list[str] | None, *, trial: str | None = None
) -> Leaderboard:
    """A sweep's ended trials, some of which are to be run again.

    Args:
        sweep_id: The sweep.
        storage: What ``--storage`` names.
        trust_code: What ``--trust-code`` names.
        trial: The one that runs again; None: any.

    Raises:
        SweepMismatchError, ConfigError: the user's own files that they need are not those that they ran.
    """
    # What is slow to load waits until the arguments are known to be right.
    from orchestrator.inputs.own_code import take_code_of
    from orchestrator.storage import SweepStore, find_storage

    # Before the settings are read, which may name a method of such a file.
    sweep_store = SweepStore(find_storage(storage_config(storage)), sweep_id)
    take_code_of(sweep_store, trusted_code=trust_code or (), trial_id=trial)
    return read_board(sweep_id, storage)


def read_board(sweep_id: str, storage: str | None) -> Leaderboard:
    """A sweep's ended trials; its storage is where they are now, which may not be where they were written."""
    # What is slow to load waits until the arguments are known to be right.
    from orchestrator.analysis.leaderboard import read_leaderboard
    from orchestrator.storage import SweepStore, find_storage

    place = storage_config(storage)
    board = read_leaderboard(SweepStore(find_storage(place), sweep_id))
    return replace(board, sweep=board.sweep.model_copy(update={"storage": place}))
