"""The clouds that are known, by the name that ``ray up`` has for each.

Others are ``Provider`` classes of installed packages, by an entry point of that name in the group ``zskt.providers``, or of
a file, ``FILE.py:CLASS``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from cluster.providers.aws import Aws
from cluster.providers.base import Provider
from cluster.providers.gcp import Gcp
from cluster.providers.kuberay import KubeRay
from cluster.providers.local import Local
from trainables.config.plugins import Registry, installed, is_foreign

OTHER_PROVIDERS = Registry(what="provider", group="zskt.providers", own={})
"""Clouds that are not this project's: subclasses of ``Provider``."""

PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in (Aws(), Gcp(), KubeRay(), Local())}


def all_providers() -> dict[str, Provider]:
    """Return the clouds of this project and those that installed packages bring, by name, but for broken ones."""
    found = {**PROVIDERS}
    for name in installed(OTHER_PROVIDERS.group):
        with contextlib.suppress(ValueError):  # a package that is broken says so to whoever names its cloud
            found.setdefault(name, _other(name))
    return found


def find_provider(name: str) -> Provider | None:
    """Return the cloud of that name, or of ``FILE.py:CLASS``; None if it is not known.

    Raises:
        ValueError: a file or package has no such cloud.
    """
    if name not in PROVIDERS and is_foreign(OTHER_PROVIDERS.group, name):
        return _other(name)
    return PROVIDERS.get(name)


@cache
def _other(name: str) -> Provider:
    found = OTHER_PROVIDERS.load(name)
    if not (isinstance(found, type) and issubclass(found, Provider)):
        raise ValueError(
            f"provider {OTHER_PROVIDERS.origin(name)}: expected a subclass of cluster.providers.base.Provider, found "
            f"{found!r}"
        )
    return found()


class _Unknown(Provider):
    """Any other cloud that Ray knows: read by those of its words that a known cloud has too."""

    def machine_type(self, node_config: Mapping[str, Any]) -> str | None:
        known = all_providers().values()
        return next((found for provider in known if (found := provider.machine_type(node_config))), None)

    def is_spot(self, node_config: Mapping[str, Any]) -> bool:
        return any(provider.is_spot(node_config) for provider in all_providers().values())


_UNKNOWN = _Unknown()


def provider_of(description: Mapping[str, Any]) -> Provider:
    """Return the cloud of a cluster's description; of an empty one, a cloud of which nothing is known.

    Raises:
        ValueError: it names a file or package that has no such cloud.
    """
    return find_provider(str(description.get("provider", {}).get("type") or "")) or _UNKNOWN


def running_description() -> dict[str, Any]:
    """Return what the cloud of a head node says of the cluster's autoscaler; empty where none says anything."""
    return next((found for provider in all_providers().values() if (found := provider.running_description())), {})
