"""From an address to a place for bytes."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError

from orchestrator.config.blocks import StorageConfig
from orchestrator.config.messages import config_error
from orchestrator.errors import StorageError
from trainables.storage.addresses import GOOGLE, expand_home, parse_address
from trainables.storage.filesystems import Filesystem, LocalFilesystem
from trainables.storage.object_store import ObjectStore

PREFLIGHT_PATIENCE = 20.0
"""Seconds for which a service that is there but in trouble is asked again before a session: a driver may begin anew in an
outage."""

_GOOGLE_PATIENCE = timedelta(seconds=5)
"""How long pyarrow makes a request to Google again by itself."""


def find_storage(storage: StorageConfig | str) -> ObjectStore:
    """Open a storage for reading; nothing is created or checked.

    Raises:
        ConfigError: the address holds what it must not.
        StorageError: the address is none.
    """
    config = checked_config(storage)
    filesystem, root = _locate(config)
    return ObjectStore(filesystem=filesystem, root=root.rstrip("/"), patience=config.patience_seconds)


def find_object(address: str) -> tuple[ObjectStore, str]:
    """The folder of one file, by path or address, and the file's name in it; nothing is checked.

    Raises:
        ConfigError: the address holds what it must not.
        StorageError: the address is none.
    """
    file = parse_address(address)
    store = find_storage(file.parent.text)
    if not file.name:
        raise StorageError(f"{file.shown}: expected the address of a file, and this one ends in no name")
    return store, file.name


def local_path(store: ObjectStore, key: str) -> Path | None:
    """Where an object lies on this machine's disk, or none for a storage elsewhere."""
    return Path(store.path(key)) if isinstance(store.filesystem, LocalFilesystem) else None


def shown(storage: StorageConfig | str) -> str:
    """A storage's address as it may be shown: without its query, which can hold more than the user wants to see."""
    return parse_address(storage if isinstance(storage, str) else storage.uri).shown


def checked_config(storage: StorageConfig | str) -> StorageConfig:
    """Return the config of a storage that may be given by its mere address.

    Raises:
        ConfigError: the address holds what it must not.
    """
    try:
        return StorageConfig.model_validate(storage)
    except ValidationError as error:
        raise config_error(error, StorageConfig, "address") from error


def _locate(config: StorageConfig) -> tuple[Filesystem, str]:
    address = config.address
    if address.scheme == "":
        return LocalFilesystem(), str(expand_home(address.path).resolve())
    if address.scheme == "file":  # not resolved: on other machines the links may be others
        return LocalFilesystem(), str(Path(address.path))
    if not address.host:
        raise StorageError(f"storage {shown(config)}: expected {address.scheme}://BUCKET/PREFIX")
    root = address.host + address.path
    if address.scheme in GOOGLE:
        from pyarrow.fs import GcsFileSystem  # with the next line, what only a bucket of Google needs

        from trainables.storage.filesystems.arrow import ArrowFilesystem

        # The waiting is ours, so pyarrow's own (15 minutes) is cut short.
        return ArrowFilesystem(GcsFileSystem(retry_time_limit=_GOOGLE_PATIENCE), address.scheme), root
    from trainables.storage.filesystems.s3 import S3Filesystem  # brings boto3: 0.3 s that only an S3 address is worth

    region = config.region or address.options.get("region") or None
    return S3Filesystem(endpoint=_endpoint(config), region=region), root


def _endpoint(config: StorageConfig) -> str | None:
    """The service's URL. Found here and not in each process: workers may have another environment."""
    if config.endpoint:
        return config.endpoint
    options = config.address.options
    override = options.get("endpoint_override")
    if override:
        return override if "://" in override else f"{options.get('scheme') or 'https'}://{override}"
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
