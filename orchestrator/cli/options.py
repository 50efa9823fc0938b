"""Options that several commands share, and helpers that turn errors into messages."""

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
"""Exit code after Ctrl-C, by the convention of shells."""

Verbose = Annotated[bool, typer.Option("--verbose", help="Show the stack trace of an error.")]
Objective = Annotated[
    str | None,
    typer.Option(
        metavar="METRIC", help="Metric to optimise, such as data_free_score. Default: as in the preset or file."
    ),
]
Storage = Annotated[
    str | None,
    typer.Option("--storage", metavar="URI", help="Folder or s3://bucket/prefix of results, checkpoints and teachers."),
]
CreateBucket = Annotated[
    bool, typer.Option("--create-bucket", help="Create the bucket of the storage if it does not exist.")
]

Cpus = Annotated[float | None, typer.Option("--cpus", help="CPU cores per trial; also its number of threads.")]


def _parse_gpus(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a number nor auto") from error


Gpus = Annotated[
    float | None,  # or "auto": typer accepts no union here, but takes whatever the parser returns
    typer.Option(
        "--gpus",
        parser=_parse_gpus,
        metavar="GPUS",
        help="GPUs per trial: a number, a fraction to share one GPU, or auto to choose by a measurement.",
    ),
]
Prices = Annotated[
    str | None,
    typer.Option(
        "--prices",
        metavar="FILE",
        help="Prices of machines, in the format of cluster/prices.yaml, which they override.",
    ),
]
DataRoot = Annotated[
    str | None, typer.Option("--data-root", metavar="FOLDER", help="Folder of torchvision's data sets.")
]
Teachers = Annotated[
    list[str] | None,
    typer.Option("--teacher", metavar="NETWORK=FILE", help="Published weights of a teacher; may be repeated."),
]
TrustCode = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-code",
        metavar="SHA256",
        help="SHA-256 of your own file that may run although edited, or taken from storage; may be repeated.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Ray cluster: an address, auto, or local. Default: a running cluster, else local."),
]


def storage_config(storage: str | None) -> StorageConfig:
    """Return the storage that ``--storage`` names, or the default storage.

    Raises:
        ConfigError: the address is not allowed, for example because it holds a key.
    """
    # Imported here, since --help needs no config and pydantic doubles its time.
    from pydantic import ValidationError

    from orchestrator.config.blocks import StorageConfig
    from orchestrator.config.messages import config_error

    try:
        return StorageConfig() if storage is None else StorageConfig.model_validate(storage)
    except ValidationError as error:
        raise config_error(error, StorageConfig, "--storage") from error


def make_bucket(storage: StorageConfig, out: Output) -> None:
    """Create the storage's bucket if it does not exist, as ``--create-bucket`` asks.

    Raises:
        StorageError: the bucket cannot be created.
    """
    # Imported here, so that a wrong argument is reported before these slow imports.
    from orchestrator.storage import shown
    from orchestrator.storage.bucket import create_bucket

    if create_bucket(storage):
        out.say(f"made the bucket of {shown(storage)}")


def teachers_by_network(assignments: list[str]) -> dict[str, str]:
    """Return the teachers' files that ``--teacher`` names, by network.

    Raises:
        ConfigError: an assignment is not NETWORK=FILE.
    """
    pairs = [assignment.partition("=") for assignment in assignments]
    for network, _, file in pairs:
        if not network or not file:
            raise ConfigError(f"--teacher {network}: expected NETWORK=FILE, for example wrn-16-2=wrn-16-2.pt")
    return {network: file for network, _, file in pairs}


def fetch_images(address: str) -> Path:
    """Return the local path of the user's own images, after fetching them if they lie elsewhere.

    Raises:
        DataUnavailableError: the address holds no images.
        StorageError, StorageRefusedError: the images' storage cannot be used.
    """
    from orchestrator.inputs.files import fetch_dataset  # imports torch, as reading the images does

    return fetch_dataset(address)


def check_output(path: Path | None) -> None:
    """Check that an output file can be written, before the work whose result the file is to hold.

    Raises:
        ConfigError: the file cannot be written.
    """
    if path is None:
        return
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"--output {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"--output {path}: this is a folder; name a file in it")
    if not os.access(path if path.exists() else path.resolve().parent, os.W_OK):
        raise ConfigError(f"--output {path}: cannot be written; name another file")


@contextmanager
def errors_as_messages(verbose: bool) -> Iterator[None]:
    """Turn errors that a user can fix into a message without a stack trace and an exit code; ``verbose`` re-raises them."""
    try:
        yield
    except (ZsktError, TrialError) as error:
        if verbose:
            raise
        standard_error().error(f"error: {error}")
        raise typer.Exit(getattr(error, "exit_code", 1)) from error


def complete_preset(incomplete: str) -> list[str]:
    """Return the presets whose names begin with ``incomplete``, for completion in the shell."""
    # Imported here, since --help needs no config and pydantic doubles its time.
    from search_spaces.presets import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def with_resources(config: SweepConfig, cpus: float | None, gpus: float | str | None) -> SweepConfig:
    """Return the sweep with the resources per trial that the options name; an option that is None changes nothing."""
    changes = {key: value for key, value in {"cpu": cpus, "gpu": gpus}.items() if value is not None}
    return config.with_resources(**changes) if changes else config


def program(name: str, *arguments: str) -> str:
    """Return the command line that calls a program of this environment: by its name if that finds it, else by its path."""
    ours = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and Path(found) == ours:
        return shlex.join([name, *arguments])
    inside = ours.is_relative_to(Path.cwd())
    return shlex.join([str(ours.relative_to(Path.cwd()) if inside else ours), *arguments])


def this_command() -> str:
    """Return how the sweep command was called, without its arguments: ``zskt sweep`` or ``python run_sweep.py``."""
    called = Path(sys.argv[0])
    return program("zskt", "sweep") if called.name == "zskt" else program("python", str(called))


def same_command() -> str:
    """Return the running command as the user would type it again."""
    called = Path(sys.argv[0])
    how = program("zskt") if called.name == "zskt" else program("python", str(called))
    return f"{how} {shlex.join(sys.argv[1:])}"


def stop_here(out: Output) -> NoReturn:
    """Exit from an interrupted command, after printing the command that resumes it."""
    out.say(f"Stopped. The same command resumes it: {same_command()}")
    raise typer.Exit(INTERRUPTED)


def read_board_to_run(
    sweep_id: str, storage: str | None, trust_code: list[str] | None, *, trial: str | None = None
) -> Leaderboard:
    """Return the leaderboard of a sweep some of whose trials are to be run again, after loading the user's own files.

    Args:
        sweep_id: Id of the sweep.
        storage: Value of ``--storage``.
        trust_code: Values of ``--trust-code``.
        trial: Id of the only trial to run again. None means that any trial may run.

    Raises:
        SweepMismatchError, ConfigError: the user's own files are not those that the trials ran.
    """
    # Imported here, so that a wrong argument is reported before these slow imports.
    from orchestrator.inputs.own_code import take_code_of
    from orchestrator.storage import SweepStore, find_storage

    # The user's files are loaded before the settings are read, since the settings may name a method in one of them.
    sweep_store = SweepStore(find_storage(storage_config(storage)), sweep_id)
    take_code_of(sweep_store, trusted_code=trust_code or (), trial_id=trial)
    return read_board(sweep_id, storage)


def read_board(sweep_id: str, storage: str | None) -> Leaderboard:
    """Return the leaderboard of a sweep, whose storage is set to where the sweep is now, not where it was written."""
    # Imported here, so that a wrong argument is reported before these slow imports.
    from orchestrator.analysis.leaderboard import read_leaderboard
    from orchestrator.storage import SweepStore, find_storage

    place = storage_config(storage)
    board = read_leaderboard(SweepStore(find_storage(place), sweep_id))
    return replace(board, sweep=board.sweep.model_copy(update={"storage": place}))
