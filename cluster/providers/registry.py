"""The clouds that are known, by the name that ``ray up`` has for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.providers.aws import Aws
from cluster.providers.base import Provider
from cluster.providers.gcp import Gcp
from cluster.providers.kuberay import KubeRay
from cluster.providers.local import Local

PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in (Aws(), Gcp(), KubeRay(), Local())}


class _Unknown(Provider):
    """Any other cloud that Ray knows: read by those of its words that a known cloud has too."""

    def machine_type(self, node_config: Mapping[str, Any]) -> str | None:
        return next((found for known in PROVIDERS.values() if (found := known.machine_type(node_config))), None)

    def is_spot(self, node_config: Mapping[str, Any]) -> bool:
        return any(known.is_spot(node_config) for known in PROVIDERS.values())


_UNKNOWN = _Unknown()


def provider_of(description: Mapping[str, Any]) -> Provider:
    """Return the cloud of a cluster's description; of an empty one, a cloud of which nothing is known."""
    return PROVIDERS.get(description.get("provider", {}).get("type", ""), _UNKNOWN)


def running_description() -> dict[str, Any]:
    """Return what the cloud of a head node says of the cluster's autoscaler; empty where none says anything."""
    return next((found for provider in PROVIDERS.values() if (found := provider.running_description())), {})
