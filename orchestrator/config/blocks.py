"""Blocks of a sweep's config: constraints, the resources of a trial, hung trials, and storage."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from trainables.config import Config
from trainables.config.plugins import STORED
from trainables.storage.addresses import Address, AddressError, parse_address

Scalar = str | int | float | bool | None


class BoundConfig(Config):
    """Bounds within which a metric must lie at a trial's end."""

    at_least: float | None = None
    """Smallest value allowed. None means no lower bound."""

    at_most: float | None = None
    """Largest value allowed. None means no upper bound."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a constraint needs at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least={self.at_least:g} is above at_most={self.at_most:g}")
        return self

    def violation(self, value: float | None) -> float:
        """Return by how much a value violates the bounds: above 0 if it does, infinite if it is None or NaN."""
        if value is None or math.isnan(value):
            return math.inf
        below = -math.inf if self.at_least is None else self.at_least - value
        above = -math.inf if self.at_most is None else value - self.at_most
        return max(below, above)


class ResourcesConfig(Config):
    """Resources that Ray reserves for each trial."""

    cpu: Annotated[float, Field(gt=0)] = 1
    """CPU cores; torch uses as many threads."""

    gpu: Annotated[float, Field(ge=0)] | Literal["auto"] = 0.0
    """GPUs; a fraction lets several trials share one GPU. ``auto`` means 0 if the cluster has no GPU, else 1 or the fraction
    that a short measurement finds best."""

    @field_validator("gpu")
    @classmethod
    def _check_gpu(cls, gpu: float | Literal["auto"]) -> float | Literal["auto"]:
        if gpu != "auto" and gpu > 1 and gpu % 1 != 0:
            raise ValueError(f"{gpu} is neither a fraction of one GPU nor a whole number of them")
        return gpu


class HungConfig(Config):
    """When a trial counts as hung. The process of a hung trial is killed, and the trial resumes from its checkpoint."""

    intervals: Annotated[float, Field(ge=1)] | None = 5.0
    """A trial is checked when it has not reported for this many times the median of its report intervals. The trial is hung
    if it has finished no pseudo batch or update in that time. None means that no trial is checked."""

    at_least_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Seconds without a report before which a trial is never checked."""


class StorageConfig(Config):
    """Where results, checkpoints, teachers and the study are kept. A plain address stands for ``uri``.

    Credentials are never part of this block: boto3 and pyarrow find them in the environment, a profile or the instance's
    role.
    """

    uri: str = "./runs"
    """Folder, ``s3://BUCKET/PREFIX`` or ``gs://BUCKET/PREFIX``. A query may name an S3-compatible service:
    ``?endpoint_override=HOST:PORT&scheme=http``."""

    endpoint: str | None = None
    """URL of an S3-compatible service. Defaults to that of the address, else to ``AWS_ENDPOINT_URL``, else to AWS."""

    region: str | None = None
    """Region of the bucket. Defaults to that of the address, else to that of the environment or profile."""

    patience_seconds: Annotated[float, Field(ge=0)] = 600.0
    """Seconds for which a request that storage does not answer is retried. Then the session ends, its trials stay as they
    were, and the sweep is paused."""

    pause_seconds: Annotated[float, Field(ge=0)] | None = 86400.0
    """Seconds for which a paused sweep waits for storage to answer again; the sweep then resumes by itself. 0 means that it
    does not wait; the same command resumes it later. None means no limit."""

    @model_validator(mode="before")
    @classmethod
    def _read_address(cls, values: Any, info: ValidationInfo) -> Any:
        values = {"uri": values} if isinstance(values, str) else values
        if not isinstance(values, dict):
            return values
        uri, endpoint = values.get("uri"), values.get("endpoint")
        if isinstance(uri, str):
            if not uri.strip() and info.context != STORED:
                raise PydanticCustomError("secret", "the address is empty; name a folder, or . for this one")
            check_address(uri)
        if isinstance(endpoint, str):
            _check_endpoint(endpoint)
        return values

    def __str__(self) -> str:
        return self.uri

    @property
    def address(self) -> Address:
        """The parts of ``uri``."""
        return parse_address(self.uri)


def check_address(address: str) -> None:
    """Refuse an address that cannot be used. The message does not repeat the address, which may hold a secret."""
    try:
        parse_address(address).check()
    except AddressError as error:
        raise PydanticCustomError("secret", "{reason}", {"reason": str(error)}) from error


def _check_endpoint(endpoint: str) -> None:
    """Refuse a service's URL that holds more than scheme, host and port."""
    url = parse_address(endpoint)
    if "@" in url.host or url.query is not None:
        raise PydanticCustomError(
            "secret", "expected http://HOST:PORT or https://HOST alone: without a key, a user or a ?"
        )
