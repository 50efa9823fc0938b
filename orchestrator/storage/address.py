"""Opens the object store that an address names."""

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
"""Seconds for which requests to a reachable but failing service are retried before a session starts. A driver may be
restarted during an outage."""

_GOOGLE_PATIENCE = timedelta(seconds=5)
"""Time for which pyarrow itself retries a request to Google Cloud Storage."""


def find_storage(storage: StorageConfig | str) -> ObjectStore:
    """Return the object store at an address, without creating or checking anything there.

    Raises:
        ConfigError: the address is not allowed, for example because it holds a key.
        StorageError: the address of a bucket names no bucket.
    """
    config = checked_config(storage)
    filesystem, root = _locate(config)
    return ObjectStore(filesystem=filesystem, root=root.rstrip("/"), patience=config.patience_seconds)


def find_object(address: str) -> tuple[ObjectStore, str]:
    """Return the folder of one file, given by path or address, and the file's name in that folder.

    Whether the file exists is not checked.

    Raises:
        ConfigError: the address is not allowed, for example because it holds a key.
        StorageError: the address names no bucket or no file.
    """
    file = parse_address(address)
    store = find_storage(file.parent.text)
    if not file.name:
        raise StorageError(f"{file.shown}: expected the address of a file, but this address ends without a file name")
    return store, file.name


def local_path(store: ObjectStore, key: str) -> Path | None:
    """Return the path of an object on this machine's disk; None if the storage is not a local folder."""
    return Path(store.path(key)) if isinstance(store.filesystem, LocalFilesystem) else None


def shown(storage: StorageConfig | str) -> str:
    """Return a storage's address without its query, which may hold details that should not be printed."""
    return parse_address(storage if isinstance(storage, str) else storage.uri).shown


def checked_config(storage: StorageConfig | str) -> StorageConfig:
    """Return the validated config of a storage, which may be given as a config or as an address.

    Raises:
        ConfigError: the address is not allowed, for example because it holds a key.
    """
    try:
        return StorageConfig.model_validate(storage)
    except ValidationError as error:
        raise config_error(error, StorageConfig, "address") from error


def _locate(config: StorageConfig) -> tuple[Filesystem, str]:
    address = config.address
    if address.scheme == "":
        return LocalFilesystem(), str(expand_home(address.path).resolve())
    if address.scheme == "file":  # not resolved: other machines may have other symbolic links
        return LocalFilesystem(), str(Path(address.path))
    if not address.host:
        raise StorageError(f"storage {shown(config)}: expected {address.scheme}://BUCKET/PREFIX")
    root = address.host + address.path
    if address.scheme in GOOGLE:
        from pyarrow.fs import GcsFileSystem  # imported here, as the next line: only Google's buckets need it

        from trainables.storage.filesystems.arrow import ArrowFilesystem

        # ObjectStore retries by itself, so pyarrow's own retries (15 minutes) are cut short.
        return ArrowFilesystem(GcsFileSystem(retry_time_limit=_GOOGLE_PATIENCE), address.scheme), root
    from trainables.storage.filesystems.s3 import S3Filesystem  # imports boto3 (0.3 s), needed for S3 only

    region = config.region or address.options.get("region") or None
    return S3Filesystem(endpoint=_endpoint(config), region=region), root


def _endpoint(config: StorageConfig) -> str | None:
    """Return the URL of the S3 service, or None for AWS.

    The driver resolves the URL once for all processes, since workers may have other environment variables.
    """
    if config.endpoint:
        return config.endpoint
    options = config.address.options
    override = options.get("endpoint_override")
    if override:
        return override if "://" in override else f"{options.get('scheme') or 'https'}://{override}"
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
