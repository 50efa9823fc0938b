"""What a program that runs on rented machines has to know of a cloud, and what holds where a cloud says nothing of its own.

A new cloud is a module beside this one, with a class that says what differs, and a line in ``registry.py``.
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
"""What a file may be that describes a cluster."""

MARKET_LABEL = "ray.io/market-type"
"""Label of a node by which Ray tells a spot machine, whatever the cloud."""


class Part(BaseModel):
    """What is looked at of a mapping in a cluster's description; Ray's other fields are Ray's."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class QuotaError(Exception):
    """A quota may not be asked for; the message says why."""


@dataclass(frozen=True, kw_only=True)
class SpotQuota:
    """How many CPU cores of spot machines with GPUs an account may rent in a region."""

    called: str
    """What the cloud calls it, and where more of it is asked for."""

    ask: Callable[[str], float]
    """Gives the CPU cores of a region; raises ``QuotaError`` and what a network raises."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The metadata service that a cloud offers to each of its machines."""

    endpoint: str
    timeout: float = 2.0

    def get(self, path: str, headers: Mapping[str, str], *, method: str = "GET") -> str | None:
        """Return the answer; None where there is nothing (404).

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
    """How a cloud announces that a spot machine is about to be taken away."""

    endpoint: str
    """Address of the metadata service."""

    deadline: int
    """Seconds until Ray ends what is left on the node: less than the cloud gives, or Ray takes the loss for a crash."""

    notice: Callable[[Metadata], str | None]
    """Gives what the cloud says of this machine's end; None as long as it says nothing. Raises ``OSError`` and
    ``ValueError`` where the service cannot be read."""


class Provider:
    """A cloud by what ``ray up`` calls it in ``provider: {type: ...}``. The defaults are those of a cloud that says nothing.

    A description is what ``ray up`` takes; ``node_config`` is a part of it, the cloud's own words for one type of machine.
    """

    name = ""
    """``type`` of the provider."""

    title = ""
    """The cloud's name in prose."""

    required: ClassVar[Mapping[str, str]] = {}
    """Fields that ``provider`` must have, each with what is expected there."""

    own_machines = False
    """Whether it rents no machines: the description names hosts, and none of their sizes."""

    node_config: type[BaseModel] = Part
    """What is looked at of a type of machine."""

    preemption: Preemption | None = None
    """How it announces the end of a spot machine; None: it does not."""

    spot_quota: SpotQuota | None = None
    """How many spot machines it rents out; None: it need not, or may not be asked."""

    def machine_type(self, node_config: Mapping[str, Any]) -> str | None:
        """Return the cloud's name of a type of machine, as price lists have it; None where there is none."""
        return None

    def is_spot(self, node_config: Mapping[str, Any]) -> bool:
        """Whether machines of a type are spot machines, by the cloud's own words."""
        return False

    def hosts(self, description: Mapping[str, Any]) -> Sequence[str]:
        """Return names or addresses of the machines that one already has, the head's first."""
        return ()

    def running_description(self) -> dict[str, Any]:
        """Return what a head node here can find out about its cluster's autoscaler; empty where nothing is found."""
        return {}

    def read_manifests(self, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Return a cluster in the words of ``ray up``, of a file that is in words of the cloud's own; None if it is not.

        Raises:
            ValueError: it is, and describes no cluster.
        """
        return None
