"""The user's own machines, which ``ray up`` reaches by ssh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cluster.providers.base import Provider


class Local(Provider):
    """The user's own machines; host names or addresses name them in result rows and price lists."""

    name = "local"
    title = "your own machines"
    required: ClassVar[Mapping[str, str]] = {"head_ip": "head_ip and worker_ips, by name or number"}
    own_machines = True

    def hosts(self, description: Mapping[str, Any]) -> Sequence[str]:
        provider = description["provider"]
        return [str(host) for host in (provider.get("head_ip"), *provider.get("worker_ips", ())) if host]
