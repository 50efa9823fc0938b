"""From an address to a place for bytes, checked before anything is computed."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
)
from pyarrow import fs
from pydantic import ValidationError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from orchestrator.config.blocks import StorageConfig
from orchestrator.config.messages import config_error
from orchestrator.errors import StorageError
from trainables.storage.addresses import GOOGLE, expand_home, parse_address
from trainables.storage.filesystems import ArrowFilesystem, Filesystem, LocalFilesystem, S3Filesystem
from trainables.storage.filesystems.s3 import is_passing, make_client, refusal, split
from trainables.storage.object_store import ObjectStore

_PROBE = ".zskt-probe"
_PREFLIGHT_ATTEMPTS = 4
"""Requests for one question of the preflight: enough for a busy server, few enough for a wrong address."""
_PREFLIGHT_PATIENCE = 20.0
"""Seconds for which a service that is there but in trouble is asked again: a driver may begin anew in an outage."""
_GOOGLE_PATIENCE = timedelta(seconds=5)
"""How long pyarrow makes a request to Google again by itself."""
_LARGEST_SKEW_SECONDS = 300.0
"""S3 refuses requests that are dated 15 minutes off; a clock that is a third as wrong is on its way there."""


def open_storage(storage: StorageConfig | str) -> ObjectStore:
    """Open a folder, ``s3://...`` or ``gs://...``, and find out now whether all that a sweep does is possible there.

    A folder is made if need be. Nothing stays of what is written to find out.

    Raises:
        StorageError: the place cannot be used; the message says why, and which right or setting is missing.
    """
    config = _config(storage)
    store = find_storage(config)
    if isinstance(store.filesystem, S3Filesystem):
        _check_bucket(store.filesystem, store.root, shown(config))
        return store
    probing = replace(store, patience=_PREFLIGHT_PATIENCE)
    key = f"{_PROBE}-{uuid.uuid4().hex}"
    try:
        probing.write(key, b"zskt")
        intact = probing.read(key) == b"zskt"
        probing.delete(key)
    except OSError as error:
        raise StorageError(f"storage {shown(config)} cannot be written to: {error}") from error
    if not intact:
        raise StorageError(f"storage {shown(config)} does not give back what was written")
    return store


def find_storage(storage: StorageConfig | str) -> ObjectStore:
    """Open a storage for reading; nothing is created or checked.

    Raises:
        ConfigError: the address holds what it must not.
        StorageError: the address is none.
    """
    config = _config(storage)
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


def create_bucket(storage: StorageConfig | str) -> bool:
    """Make the bucket of an S3 address, unless it is there; whether it was made.

    Raises:
        StorageError: it is not an S3 address, or the bucket cannot be made.
    """
    config = _config(storage)
    store = find_storage(config)
    if not isinstance(store.filesystem, S3Filesystem):
        raise StorageError(f"storage {shown(config)}: --create-bucket is for s3:// addresses")
    bucket, _ = split(store.root)
    client = _preflight_client(store.filesystem)
    region = client.meta.region_name
    where = (
        {}
        if store.filesystem.endpoint or region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    if _ask(shown(config), lambda: client.list_objects_v2(Bucket=bucket, MaxKeys=1)) != "NoSuchBucket":
        return False
    refused = _ask(shown(config), lambda: client.create_bucket(Bucket=bucket, **where))
    if refused:
        raise StorageError(f"storage {shown(config)}: the bucket cannot be made ({refused}); it needs s3:CreateBucket")
    return True


def local_path(store: ObjectStore, key: str) -> Path | None:
    """Where an object lies on this machine's disk, or none for a storage elsewhere."""
    return Path(store.path(key)) if isinstance(store.filesystem, LocalFilesystem) else None


def shown(storage: StorageConfig | str) -> str:
    """A storage's address as it may be shown: without its query, which can hold more than the user wants to see."""
    return parse_address(storage if isinstance(storage, str) else storage.uri).shown


def _config(storage: StorageConfig | str) -> StorageConfig:
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
        # The waiting is ours, so pyarrow's own (15 minutes) is cut short.
        return ArrowFilesystem(fs.GcsFileSystem(retry_time_limit=_GOOGLE_PATIENCE), address.scheme), root
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


def _preflight_client(filesystem: S3Filesystem) -> Any:
    return make_client(filesystem.endpoint, filesystem.region, attempts=_PREFLIGHT_ATTEMPTS)


def _check_bucket(filesystem: S3Filesystem, root: str, place: str) -> None:
    """Do once what a sweep does, and name all that is not allowed in one message."""
    bucket, prefix = split(root)
    client = _preflight_client(filesystem)
    key = "/".join(part for part in (prefix, f"{_PROBE}-{uuid.uuid4().hex}") if part)
    skew: list[float] = []

    def look() -> None:
        answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        skew.append(_clock_skew(answer["ResponseMetadata"]["HTTPHeaders"]))

    def read() -> None:
        if client.get_object(Bucket=bucket, Key=key)["Body"].read() != b"zskt":
            raise StorageError(f"storage {place} does not give back what was written")

    def begin_parts() -> None:
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)

    listed = _ask(place, look)
    if listed == "NoSuchBucket":
        raise StorageError(
            f"storage {place}: there is no bucket {bucket} at {client.meta.endpoint_url}; correct the name, or let "
            "--create-bucket make it"
        )
    if skew and abs(skew[0]) > _LARGEST_SKEW_SECONDS:
        raise StorageError(
            f"storage {place}: this machine's clock is {skew[0]:+.0f} s off the service's; requests will be refused. Set "
            "the clock (NTP)"
        )
    written = _ask(place, lambda: client.put_object(Bucket=bucket, Key=key, Body=b"zskt"))
    missing = {
        "list (s3:ListBucket on the bucket)": listed,
        "write (s3:PutObject)": written,
        "read (s3:GetObject)": None if written else _ask(place, read),
        "write in parts (s3:PutObject, s3:AbortMultipartUpload)": None if written else _ask(place, begin_parts),
        "delete (s3:DeleteObject)": None
        if written
        else _ask(place, lambda: client.delete_object(Bucket=bucket, Key=key)),
    }
    refused = {right: code for right, code in missing.items() if code}
    if refused:
        codes = ", ".join(sorted(set(refused.values())))
        raise StorageError(
            f"storage {place}: these credentials may not {'; may not '.join(refused)}. The service says {codes}; the rights "
            "that a sweep needs are in cluster/iam/storage.json"
        )


_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}


def _ask(place: str, request: Callable[[], object]) -> str | None:
    """Make a request; none if it was granted, else the code of its refusal.

    Raises:
        StorageError: it failed for a reason that concerns every request.
    """
    retrying = Retrying(
        retry=retry_if_exception(_is_in_trouble),
        wait=wait_fixed(1),
        stop=stop_after_delay(_PREFLIGHT_PATIENCE),
        reraise=True,
    )
    try:
        retrying(request)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _DENIED or code == "NoSuchBucket":
            return code
        raise StorageError(f"storage {place}: {refusal(error)}") from error
    except NoCredentialsError as error:
        raise StorageError(
            f"storage {place}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or give the "
            "machine a role"
        ) from error
    except EndpointConnectionError as error:
        raise StorageError(
            f"storage {place}: nothing answers at {error.kwargs.get('endpoint_url', 'its address')}; check the endpoint "
            "(endpoint_override, AWS_ENDPOINT_URL) and the network"
        ) from error
    except BotoCoreError as error:
        raise StorageError(f"storage {place}: {' '.join(str(error).split())}") from error
    return None


def _is_in_trouble(error: BaseException) -> bool:
    """Whether a service is there that may answer later; an address at which nothing answers is told at once."""
    return isinstance(error, ConnectionClosedError) or (isinstance(error, ClientError) and is_passing(error))


def _clock_skew(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float:
    """Seconds by which this machine's clock is ahead of the service's; 0 if it does not say."""
    date = headers.get("date")
    return now() - parsedate_to_datetime(date).timestamp() if date else 0.0
