"""Images and weights that settings name by the name of a data set, a path or an address. Remote files are fetched once."""

from __future__ import annotations

from pathlib import Path

from orchestrator.storage import find_object
from trainables.config import AnyTrialConfig
from trainables.errors import DataUnavailableError, TeacherError
from trainables.images.load import load_dataset, load_own_dataset
from trainables.images.splits import DatasetSplits
from trainables.storage.addresses import expand_home, parse_address
from trainables.storage.node_cache import NodeCache
from trainables.teachers.published import load_published_checkpoint
from trainables.teachers.teacher import Teacher


def load_images(config: AnyTrialConfig, data_root: str) -> DatasetSplits:
    """Return the images that a config names, after fetching them if they are not on this machine.

    Args:
        config: Config of a trial.
        data_root: Folder of torchvision's data sets; ``~`` is the user's home.

    Raises:
        DataUnavailableError: the images cannot be found or read.
        StorageError, StorageRefusedError: the storage of a file cannot be used.
    """
    if config.has_own_images and config.dataset_file and config.dataset_sha256:
        return load_own_dataset(
            fetch_dataset(config.dataset_file),
            spec=config.spec,
            sha256=config.dataset_sha256,
            origin=parse_address(config.dataset_file).shown,
            validation_fraction=config.validation_fraction,
            split_seed=config.split_seed,
        )
    return load_dataset(
        config.dataset,
        data_root=expand_home(data_root),
        file=fetch_dataset(config.dataset_file) if config.dataset_file else None,
        image_size=config.spec.image_size,
        validation_fraction=config.validation_fraction,
        split_seed=config.split_seed,
    )


def fetch_dataset(address: str) -> Path:
    """Return the local path of a data set's file or folder; a remote file is fetched once.

    Raises:
        DataUnavailableError: there is no such file or folder.
        StorageError, StorageRefusedError: the file's storage cannot be used.
    """
    file, shown = _fetch(address)
    if file is None:
        raise DataUnavailableError(
            f"dataset {shown}: there is no such file or folder; zskt dataset export DATASET ADDRESS writes a file"
        )
    return file


def _fetch(address: str) -> tuple[Path | None, str]:
    """Return the local path of a file (None if the file does not exist), and its address without credentials."""
    store, key = find_object(address)
    try:
        file = NodeCache().fetch(store, key)
    except FileNotFoundError:
        return None, store.shown(key)
    return file if file.exists() else None, store.shown(key)


def fetch_weights(address: str, *, field: str = "") -> tuple[Path, str]:
    """Return the local path of a file of weights, and its address without credentials; a remote file is fetched once.

    Args:
        address: Path or address of the file.
        field: Field of a trial that names the file, for messages. Empty if no field does.

    Raises:
        TeacherError: there is no such file at a remote address.
        StorageError, StorageRefusedError: the file's storage cannot be used.
    """
    file, shown = _fetch(address) if parse_address(address).scheme else (expand_home(address), address)
    if file is None:
        raise TeacherError(f"{f'{field}={shown}' if field else shown}: there is no such file")
    return file, shown


def published_teacher(address: str, *, dataset: str, name: str, normalisation: str, splits: DatasetSplits) -> Teacher:
    """Load a teacher from a file of published weights; a remote file is fetched once.

    Raises:
        TeacherError: there is no such file, or its weights are not those of the named network.
        StorageError, StorageRefusedError: the file's storage cannot be used.
    """
    file, shown = fetch_weights(address, field="teacher_checkpoint")
    return load_published_checkpoint(
        file, dataset=dataset, name=name, normalisation=normalisation, splits=splits, shown=shown
    )
