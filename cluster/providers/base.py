"""Interface of a cloud: what the program has to know about rented machines, with defaults for clouds that define nothing.

A new cloud is a module beside this one, with a class that overrides what differs, and a line in ``registry.py``.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

EXPECTED = (
    "expected what ray up takes (available_node_types: {NAME: {resources: ..., node_config: ...}}, or provider: {type: "
    "local} with head_ip and worker_ips), or a RayCluster, RayJob or RayService of KubeRay"
)
"""Accepted formats of a file that describes a cluster, for messages."""

MARKET_LABEL = "ray.io/market-type"
"""Label of a node by which Ray marks a spot instance on any cloud."""


class Part(BaseModel):
    """Base of the parts of a cluster's description that this program reads; Ray's other fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class QuotaError(Exception):
    """A quota cannot be read; the message says why."""


@dataclass(frozen=True, kw_only=True)
class SpotQuota:
    """A cloud's quota: how many CPU cores of spot instances with GPUs an account may rent in a region."""

    called: str
    """The cloud's name of the quota, and where to request a larger one."""

    ask: Callable[[str], float]
    """Function that returns the quota of a region, in CPU cores; raises ``QuotaError`` and network errors."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Client of the metadata service that a cloud offers to each of its machines."""

    endpoint: str
    timeout: float = 2.0

    def get(self, path: str, headers: Mapping[str, str], *, method: str = "GET") -> str | None:
        """Return the text at a path of the service; None if the path does not exist (404).

        Raises:
            OSError: the service does not answer, or answers with another error.
        """
        request = urllib.request.Request(self.endpoint + path, headers=dict(headers), method=method)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                answer: bytes = response.read()
                return answer.decode()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise


@dataclass(frozen=True, kw_only=True)
class Preemption:
    """How a cloud announces that a spot instance is about to be preempted."""

    endpoint: str
    """Address of the metadata service."""

    deadline: int
    """Seconds from the notice until Ray ends the node's processes: less than the cloud's own notice period, or Ray would
    count the loss of the machine as a crash."""

    notice: Callable[[Metadata], str | None]
    """Function that returns the cloud's notice of this machine's preemption, or None if there is no notice. Raises
    ``OSError`` or ``ValueError`` if the service cannot be read."""


class Provider:
    """A cloud, identified by its name in ``provider: {type: ...}`` of ``ray up``; base of all clouds, with their defaults.

    A description is a cluster's, as ``ray up`` takes it. Its ``node_config`` describes one machine type in the cloud's own
    terms.
    """

    name = ""
    """The cloud's name in ``provider: {type: ...}``."""

    title = ""
    """The cloud's name in prose."""

    required: ClassVar[Mapping[str, str]] = {}
    """Fields that the description's ``provider`` must have, each with a text on the expected value."""

    own_machines = False
    """Whether the machines are the user's own: the description then names hosts, but not their sizes."""

    node_config: type[BaseModel] = Part
    """Model of the fields of ``node_config`` that this program reads."""

    preemption: Preemption | None = None
    """How the cloud announces the preemption of a spot instance. None if it does not announce preemptions."""

    spot_quota: SpotQuota | None = None
    """The cloud's quota of spot instances. None if the cloud has no such quota, or the quota cannot be read."""

    def machine_type(self, node_config: Mapping[str, Any]) -> str | None:
        """Return the cloud's name of a machine type, as in price lists; None if it has no name."""
        return None

    def is_spot(self, node_config: Mapping[str, Any]) -> bool:
        """Return whether a machine type's ``node_config`` asks for spot instances."""
        return False

    def hosts(self, description: Mapping[str, Any]) -> Sequence[str]:
        """Return the names or addresses of the user's own machines that the description names, the head's first."""
        return ()

    def running_description(self) -> dict[str, Any]:
        """Return the cluster's description if this machine is a head node of the cloud; empty if none can be found."""
        return {}

    def read_manifests(self, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Convert documents in the cloud's own format into a description in the format of ``ray up``.

        Returns:
            The description; None if the documents are not in the cloud's own format.

        Raises:
            ValueError: the documents are in the cloud's own format but describe no cluster.
        """
        return None
