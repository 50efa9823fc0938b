"""S3 and services that speak it, through boto3.

pyarrow's own S3 was measured and left: on Linux it ignores its time-outs (a server that accepts and is silent blocks a
write for 99 s), it uploads ten bytes in three requests, lists a bucket that does not exist as empty, and leaves empty
objects named after folders. botocore has time-outs, one request for a small object, and errors with codes.
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
"""How long one request may be silent before it counts as lost."""

PART_BYTES = 64 * 2**20
"""Objects above this size go in parts of this size."""

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
"""What botocore itself finds wrong, and time does not mend. All else that it raises without an answer is the network."""

_client_lock = Lock()


@dataclass(frozen=True, kw_only=True)
class S3Filesystem:
    """Objects by ``bucket/key``.

    ``endpoint`` is the URL of an S3-compatible service, none for AWS; ``region`` may be left to boto3's own chain, as
    credentials always are.
    """

    endpoint: str | None = None
    region: str | None = None

    @property
    def client(self) -> Any:
        """boto3's client, one for each process and place."""
        with _client_lock:  # making one is not thread-safe, using it is
            return _client(self.endpoint, self.region)

    def write(self, path: str, data: bytes) -> None:
        """In one request, or in parts that become visible together. MD5 lets the service refuse damaged bytes."""
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
            # What cannot be taken back now is for the bucket's lifecycle rule (cluster/s3-lifecycle.json).
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
                if not entry["Key"].endswith("/")  # what consoles and pyarrow leave as folders
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
    """Bucket and key of a path."""
    bucket, _, key = path.partition("/")
    return bucket, key


def make_client(endpoint: str | None, region: str | None, *, attempts: int = 1) -> Any:
    """A client for S3 with credentials from boto3's chain: environment, profile, instance role.

    Args:
        endpoint: URL of an S3-compatible service; none: AWS, or what ``AWS_ENDPOINT_URL`` names.
        region: Region; none: boto3's chain, else that of the bucket.
        attempts: Requests in all for one call. One where ``ObjectStore`` does the waiting.
    """
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": attempts},
        # Many services do not know the newer checksums; we send MD5 with each body, which all of them check.
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
    """botocore's errors to those that ``Filesystem`` promises."""
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
        # Without the endpoint's URL, which repeats the path behind a host that the user knows.
        reason = re.split(r"(?: (?:on|from|to))?(?: the)? endpoint URL", str(error))[0]
        raise PassingError(f"{shown}: {reason}") from error


def is_passing(error: exceptions.ClientError) -> bool:
    """Whether the same request may succeed later: the service is busy or in trouble."""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(error.response.get("Error", {}).get("Code", ""))
    return status >= 500 or status in _PASSING_STATUS or code in _PASSING_CODES


def refusal(error: exceptions.ClientError) -> str:
    """What a lasting refusal means, with the remedy where there is one."""
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
        return f"the bucket is in another region{f', {region},' if region else ''} than is asked ({code}): {remedy}"
    return meanings.get(code, f"{operation} was refused: {error}")


_WRONG_REGION = {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}


def _right_region(error: exceptions.ClientError) -> str | None:
    """The bucket's region, where the refusal tells it: in its body, or in a header where it has none."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = error.response["Error"].get("Region") or headers.get("x-amz-bucket-region")
    return str(region) if region else None
