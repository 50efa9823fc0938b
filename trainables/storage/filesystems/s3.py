"""Filesystem of S3 and S3-compatible services, through boto3.

Why not pyarrow's S3 filesystem: measured on Linux, it ignores its time-outs (a server that accepts a connection but does not
answer blocks a write for 99 s), uploads ten bytes in three requests, lists a missing bucket as empty, and leaves empty
objects named after folders. botocore has time-outs, needs one request for a small object, and has errors with codes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import boto3
from botocore import exceptions
from botocore.config import Config

from trainables.errors import StorageRefusedError
from trainables.storage.filesystems.base import PassingError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
"""Time-out in seconds for the answer to one request."""

PART_BYTES = 64 * 2**20
"""Larger objects are uploaded in parts of this size."""

_PASSING_STATUS = {408, 425, 429}
_PASSING_CODES = {"RequestTimeout", "RequestTimeoutException", "SlowDown", "Throttling", "ThrottlingException"}
_LASTING = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.ProfileNotFound,
    exceptions.ParamValidationError,
    exceptions.NoRegionError,
    exceptions.InvalidRegionError,
    exceptions.InvalidEndpointConfigurationError,
)
"""Errors of botocore itself that a retry cannot help. Its other errors without an answer are failures of the network."""

_client_lock = Lock()


@dataclass(frozen=True, kw_only=True)
class S3Filesystem:
    """Objects by ``bucket/key``.

    ``endpoint`` is the URL of an S3-compatible service; None means AWS. ``region`` None means the region that boto3 finds.
    Credentials are always found by boto3.
    """

    endpoint: str | None = None
    region: str | None = None

    @property
    def client(self) -> Any:
        """boto3's client, one for each process, endpoint and region."""
        with _client_lock:  # making a client is not thread-safe, using it is
            return _client(self.endpoint, self.region)

    def write(self, path: str, data: bytes) -> None:
        """Write in one request, or in parts that become visible together.

        An MD5 checksum lets the service refuse damaged bytes.
        """
        bucket, key = split(path)
        with _translated(self.shown(path)):
            if len(data) <= PART_BYTES:
                self.client.put_object(Bucket=bucket, Key=key, Body=data, ContentMD5=_md5(data))
            else:
                self._write_in_parts(bucket, key, data)

    def _write_in_parts(self, bucket: str, key: str, data: bytes) -> None:
        client = self.client
        upload = {
            "Bucket": bucket,
            "Key": key,
            "UploadId": client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"],
        }
        parts = []
        try:
            for number, start in enumerate(range(0, len(data), PART_BYTES), start=1):
                part = data[start : start + PART_BYTES]
                answer = client.upload_part(**upload, PartNumber=number, Body=part, ContentMD5=_md5(part))
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            # If the abort fails, the bucket's lifecycle rule deletes the parts (cluster/s3-lifecycle.json).
            with suppress(exceptions.BotoCoreError, exceptions.ClientError):
                client.abort_multipart_upload(**upload)
            raise

    def read(self, path: str) -> bytes:
        bucket, key = split(path)
        with _translated(self.shown(path)):
            data: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    def exists(self, path: str) -> bool:
        bucket, key = split(path)
        try:
            with _translated(self.shown(path)):
                self.client.head_object(Bucket=bucket, Key=key)
        except FileNotFoundError:
            return False
        return True

    def sizes(self, folder: str) -> dict[str, int]:
        bucket, prefix = split(folder.rstrip("/") + "/")
        with _translated(self.shown(folder)):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return {
                f"{bucket}/{entry['Key']}": entry["Size"]
                for page in pages
                for entry in page.get("Contents", ())
                if not entry["Key"].endswith("/")  # empty objects that consoles and pyarrow create as folders
            }

    def version(self, path: str) -> str:
        bucket, key = split(path)
        with _translated(self.shown(path)):
            return str(self.client.head_object(Bucket=bucket, Key=key)["ETag"])

    def delete(self, path: str) -> None:
        bucket, key = split(path)
        with _translated(self.shown(path)):
            self.client.delete_object(Bucket=bucket, Key=key)

    def shown(self, path: str) -> str:
        return f"s3://{path}"


def split(path: str) -> tuple[str, str]:
    """Return bucket and key of a path."""
    bucket, _, key = path.partition("/")
    return bucket, key


def make_client(endpoint: str | None, region: str | None, *, attempts: int = 1) -> Any:
    """Return a client for S3 with credentials that boto3 finds: environment, profile, instance role.

    Args:
        endpoint: URL of an S3-compatible service. None means AWS, or the service that ``AWS_ENDPOINT_URL`` names.
        region: Region of the bucket. None means the region that boto3 finds, else us-east-1.
        attempts: Largest number of requests for one call; 1 if ``ObjectStore`` retries.
    """
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": attempts},
        # Many services do not know the newer checksums; all check the MD5 that is sent with each body.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint else "auto"},
        max_pool_connections=32,
    )
    session = boto3.session.Session()
    return session.client(
        "s3", endpoint_url=endpoint, region_name=region or session.region_name or "us-east-1", config=config
    )


@lru_cache(maxsize=8)
def _client(endpoint: str | None, region: str | None) -> Any:
    return make_client(endpoint, region)


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


@contextmanager
def _translated(shown: str) -> Iterator[None]:
    """Translate botocore's errors into the errors that ``Filesystem`` documents."""
    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if is_passing(error):
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise PassingError(f"{shown}: {code or 'error'} (HTTP {status})") from error
        if code in {"NoSuchKey", "404", "NotFound"}:
            raise FileNotFoundError(f"{shown}: no such object") from error
        raise StorageRefusedError(f"{shown}: {refusal(error)}") from error
    except exceptions.SSLError as error:
        lasting = "CERTIFICATE_VERIFY_FAILED" in str(error)
        raise (StorageRefusedError if lasting else PassingError)(f"{shown}: {error}") from error
    except _LASTING as error:
        raise StorageRefusedError(f"{shown}: {error}") from error
    except exceptions.BotoCoreError as error:
        # Without the endpoint's URL, which only repeats the path.
        reason = re.split(r"(?: (?:on|from|to))?(?: the)? endpoint URL", str(error))[0]
        raise PassingError(f"{shown}: {reason}") from error


def is_passing(error: exceptions.ClientError) -> bool:
    """Return whether a retry may succeed: the service is busy or has an internal error."""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(error.response.get("Error", {}).get("Code", ""))
    return status >= 500 or status in _PASSING_STATUS or code in _PASSING_CODES


def refusal(error: exceptions.ClientError) -> str:
    """Return the meaning of a lasting refusal, with the remedy if there is one."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    operation = error.operation_name
    meanings = {
        "NoSuchBucket": "there is no such bucket",
        "SignatureDoesNotMatch": "the secret key does not belong to the access key",
        "InvalidAccessKeyId": "the service does not know the access key",
        "ExpiredToken": "the session token has expired; renew the credentials",
        "InvalidToken": "the session token is not valid",
        "RequestTimeTooSkewed": "this machine's clock is wrong by more than 15 minutes; set it (NTP)",
        "QuotaExceeded": "the quota of the user or the bucket is used up",
        "AccessDenied": f"{operation} is not allowed with these credentials",
        "403": f"{operation} is not allowed with these credentials",
    }
    if code in _WRONG_REGION:
        region = _right_region(error)
        remedy = f"set AWS_DEFAULT_REGION={region}, or add ?region={region} to the address"
        if region is None:
            remedy = "find out which (aws s3api get-bucket-location), and set AWS_DEFAULT_REGION"
        return f"the bucket is in another region{f', {region},' if region else ''} than the request ({code}): {remedy}"
    return meanings.get(code, f"{operation} was refused: {error}")


_WRONG_REGION = {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}


def _right_region(error: exceptions.ClientError) -> str | None:
    """Return the bucket's region if the refusal names it, in its body or in a header."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = error.response["Error"].get("Region") or headers.get("x-amz-bucket-region")
    return str(region) if region else None
