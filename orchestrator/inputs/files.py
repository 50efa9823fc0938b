"""Images and weights that settings name: by a data set's name, a path or an address. What lies elsewhere is fetched once."""

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
    """The images that a config names, fetched if this machine has none.

    Args:
        data_root: Folder of data sets in the form torchvision keeps them; ``~`` is the user's home.

    Raises:
        DataUnavailableError: they are not to be had.
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
    """A data set's file or folder on this machine; a file from elsewhere is fetched once.

    Raises:
        DataUnavailableError: there is none.
        StorageError, StorageRefusedError: its storage cannot be used.
    """
    file, shown = _fetch(address)
    if file is None:
        raise DataUnavailableError(
            f"dataset {shown}: there is no such file or folder; zskt dataset export DATASET ADDRESS writes a file"
        )
    return file


def _fetch(address: str) -> tuple[Path | None, str]:
    """A file on this machine, none where there is none, and its address as it may be shown."""
    store, key = find_object(address)
    try:
        file = NodeCache().fetch(store, key)
    except FileNotFoundError:
        return None, store.shown(key)
    return file if file.exists() else None, store.shown(key)


def fetch_weights(address: str, *, field: str = "") -> tuple[Path, str]:
    """A file of weights on this machine, fetched once from elsewhere, and its address as it may be shown.

    Args:
        address: Path or address.
        field: Field of a trial that names it, for messages; empty: none does.

    Raises:
        TeacherError: there is none.
        StorageError, StorageRefusedError: its storage cannot be used.
    """
    file, shown = _fetch(address) if parse_address(address).scheme else (expand_home(address), address)
    if file is None:
        raise TeacherError(f"{f'{field}={shown}' if field else shown}: there is no such file")
    return file, shown


def published_teacher(address: str, *, dataset: str, name: str, normalisation: str, splits: DatasetSplits) -> Teacher:
    """Weights published by others, from a file or an address; from elsewhere they are fetched once.

    Raises:
        TeacherError: there are none, or they are not what the config says.
        StorageError, StorageRefusedError: their storage cannot be used.
    """
    file, shown = fetch_weights(address, field="teacher_checkpoint")
    return load_published_checkpoint(
        file, dataset=dataset, name=name, normalisation=normalisation, splits=splits, shown=shown
    )
