"""Blocks of a sweep's config: bounds, what a trial may have of the cluster, and where everything is kept."""

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
    """Where a metric must lie at a trial's end."""

    at_least: float | None = None
    """Smallest value allowed; none: any."""

    at_most: float | None = None
    """Largest value allowed; none: any."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a constraint needs at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least={self.at_least:g} is above at_most={self.at_most:g}")
        return self

    def violation(self, value: float | None) -> float:
        """By how much a value breaks the bound: above 0 if it does, infinite for one that was not measured."""
        if value is None or math.isnan(value):
            return math.inf
        below = -math.inf if self.at_least is None else self.at_least - value
        above = -math.inf if self.at_most is None else value - self.at_most
        return max(below, above)


class ResourcesConfig(Config):
    """What Ray sets aside for one trial."""

    cpu: Annotated[float, Field(gt=0)] = 1
    """CPU cores; torch uses as many threads."""

    gpu: Annotated[float, Field(ge=0)] | Literal["auto"] = 0.0
    """GPUs; a fraction lets several trials share one. ``auto``: none where the cluster has none, else one or the part of one
    that a short measurement finds best."""

    @field_validator("gpu")
    @classmethod
    def _check_gpu(cls, gpu: float | Literal["auto"]) -> float | Literal["auto"]:
        if gpu != "auto" and gpu > 1 and gpu % 1 != 0:
            raise ValueError(f"{gpu} is neither a fraction of one GPU nor a whole number of them")
        return gpu


class HungConfig(Config):
    """When a trial counts as hung: its process is ended, and it goes on from its checkpoint."""

    intervals: Annotated[float, Field(ge=1)] | None = 5.0
    """A trial without a report for so many times the median of its intervals is looked at. If it has not finished a single
    pseudo batch or update in that time, it hangs. None: nothing is looked at."""

    at_least_seconds: Annotated[float, Field(gt=0)] = 300.0
    """But never before so many seconds without a report."""


class StorageConfig(Config):
    """Where results, checkpoints, teachers and the study are kept. A plain address stands for its ``uri``.

    Credentials are never part of it: boto3 and pyarrow find them in the environment, a profile or the instance's role.
    """

    uri: str = "./runs"
    """Folder, ``s3://BUCKET/PREFIX`` or ``gs://BUCKET/PREFIX``. An S3-compatible service may be named behind it:
    ``?endpoint_override=HOST:PORT&scheme=http``."""

    endpoint: str | None = None
    """URL of an S3-compatible service; none: that of the address, else of ``AWS_ENDPOINT_URL``, else AWS."""

    region: str | None = None
    """Region of the bucket; none: that of the address, else of the environment or profile."""

    patience_seconds: Annotated[float, Field(ge=0)] = 600.0
    """How long a request that storage does not answer is made again before the session ends, in seconds. Trials then stay
    as they were, and the sweep is paused."""

    pause_seconds: Annotated[float, Field(ge=0)] | None = 86400.0
    """How long a paused sweep waits for storage to answer again, in seconds; it then goes on by itself. 0: it does not wait,
    and the same command goes on later. None: without end."""

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
    """Refuse an address that cannot be used. Nothing of it is repeated in the message: it would end up in logs."""
    try:
        parse_address(address).check()
    except AddressError as error:
        raise PydanticCustomError("secret", "{reason}", {"reason": str(error)}) from error


def _check_endpoint(endpoint: str) -> None:
    """Refuse a service's URL that holds more than its place."""
    url = parse_address(endpoint)
    if "@" in url.host or url.query is not None:
        raise PydanticCustomError(
            "secret", "expected http://HOST:PORT or https://HOST alone: without a key, a user or a ?"
        )
