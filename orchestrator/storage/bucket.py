"""Checks with a few requests that a sweep can use an S3 bucket, and creates buckets. Imports boto3."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
)
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from orchestrator.config.blocks import StorageConfig
from orchestrator.errors import StorageError
from orchestrator.storage.address import PREFLIGHT_PATIENCE, find_storage, shown
from orchestrator.storage.layout import PROBE
from trainables.storage.filesystems.s3 import S3Filesystem, is_passing, make_client, refusal, split
from trainables.storage.object_store import ObjectStore

_PREFLIGHT_ATTEMPTS = 4
"""Largest number of attempts for one preflight request: enough for a busy server, few enough for a wrong address."""

_LARGEST_SKEW_SECONDS = 300.0
"""Largest accepted difference between this machine's clock and the service's, a third of the 15 minutes beyond which S3
refuses requests: a clock that is wrong by more is likely to drift past that limit."""


def create_bucket(storage: StorageConfig | str) -> bool:
    """Create the bucket of an S3 address unless the bucket exists.

    Returns:
        Whether the bucket was created.

    Raises:
        StorageError: the address is not an S3 address, or the bucket cannot be created.
    """
    store = find_storage(storage)
    if not isinstance(store.filesystem, S3Filesystem):
        raise StorageError(f"storage {shown(storage)}: --create-bucket is for s3:// addresses")
    bucket, _ = split(store.root)
    client = _preflight_client(store.filesystem)
    region = client.meta.region_name
    where = (
        {}
        if store.filesystem.endpoint or region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    if _ask(shown(storage), lambda: client.list_objects_v2(Bucket=bucket, MaxKeys=1)) != "NoSuchBucket":
        return False
    refused = _ask(shown(storage), lambda: client.create_bucket(Bucket=bucket, **where))
    if refused:
        raise StorageError(
            f"storage {shown(storage)}: the bucket cannot be created ({refused}); this needs s3:CreateBucket"
        )
    return True


def _preflight_client(filesystem: S3Filesystem) -> Any:
    return make_client(filesystem.endpoint, filesystem.region, attempts=_PREFLIGHT_ATTEMPTS)


def check_bucket(store: ObjectStore, place: str) -> None:
    """Try each operation that a sweep needs on a bucket once, and name all refused operations in one message.

    Args:
        store: A folder of an S3 bucket.
        place: The folder's address, for messages.

    Raises:
        StorageError: the bucket cannot be used; the message says why, and which permission is missing.
    """
    assert isinstance(store.filesystem, S3Filesystem)  # the caller has checked the scheme
    bucket, prefix = split(store.root)
    client = _preflight_client(store.filesystem)
    key = "/".join(part for part in (prefix, f"{PROBE}-{uuid.uuid4().hex}") if part)
    skew: list[float] = []

    def look() -> None:
        answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        skew.append(_clock_skew(answer["ResponseMetadata"]["HTTPHeaders"]))

    def read() -> None:
        if client.get_object(Bucket=bucket, Key=key)["Body"].read() != b"zskt":
            raise StorageError(f"storage {place} returns other bytes than were written")

    def begin_parts() -> None:
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)

    listed = _ask(place, look)
    if listed == "NoSuchBucket":
        raise StorageError(
            f"storage {place}: there is no bucket {bucket} at {client.meta.endpoint_url}; correct the name, or create "
            "it with --create-bucket"
        )
    if skew and abs(skew[0]) > _LARGEST_SKEW_SECONDS:
        raise StorageError(
            f"storage {place}: this machine's clock differs from the service's by {skew[0]:+.0f} s; requests will be "
            "refused. Set the clock (NTP)"
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
            f"storage {place}: these credentials may not {'; may not '.join(refused)}. The service says {codes}; the "
            "permissions that a sweep needs are in cluster/iam/storage.json"
        )


_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}


def _ask(place: str, request: Callable[[], object]) -> str | None:
    """Make a request, retrying it while the service is in trouble.

    Returns:
        None if the request was granted, else the error code of the refusal.

    Raises:
        StorageError: the request failed for a reason that concerns every request.
    """
    retrying = Retrying(
        retry=retry_if_exception(_is_in_trouble),
        wait=wait_fixed(1),
        stop=stop_after_delay(PREFLIGHT_PATIENCE),
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
    """Return whether the service is reachable and may answer later.

    An address at which nothing answers is not retried but reported at once.
    """
    return isinstance(error, ConnectionClosedError) or (isinstance(error, ClientError) and is_passing(error))


def _clock_skew(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float:
    """Return the seconds by which this machine's clock is ahead of the service's; 0 if the answer has no date."""
    date = headers.get("date")
    return now() - parsedate_to_datetime(date).timestamp() if date else 0.0
