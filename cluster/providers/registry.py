"""Registry of the known clouds, by the name that ``ray up`` uses for each.

Further clouds are ``Provider`` classes of installed packages, registered by entry points in the group ``zskt.providers``,
or classes in a file, named ``FILE.py:CLASS``.
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
"""Registry of clouds that other packages or files define: subclasses of ``Provider``."""

PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in (Aws(), Gcp(), KubeRay(), Local())}


def all_providers() -> dict[str, Provider]:
    """Return this project's clouds and those of installed packages by name, without clouds that cannot be loaded."""
    found = {**PROVIDERS}
    for name in installed(OTHER_PROVIDERS.group):
        with contextlib.suppress(ValueError):  # the error is reported when a description names the cloud
            found.setdefault(name, _other(name))
    return found


def find_provider(name: str) -> Provider | None:
    """Return the cloud with a name, which may be ``FILE.py:CLASS``; None if the name is not known.

    Raises:
        ValueError: the file or package does not hold such a cloud.
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
    """Any other cloud that Ray knows; its fields are read where they match those of a known cloud."""

    def machine_type(self, node_config: Mapping[str, Any]) -> str | None:
        known = all_providers().values()
        return next((found for provider in known if (found := provider.machine_type(node_config))), None)

    def is_spot(self, node_config: Mapping[str, Any]) -> bool:
        return any(provider.is_spot(node_config) for provider in all_providers().values())


_UNKNOWN = _Unknown()


def provider_of(description: Mapping[str, Any]) -> Provider:
    """Return the cloud that a cluster's description names; a generic cloud if it names none or an unknown one.

    Raises:
        ValueError: the description names a file or package that does not hold such a cloud.
    """
    return find_provider(str(description.get("provider", {}).get("type") or "")) or _UNKNOWN


def running_description() -> dict[str, Any]:
    """Return the cluster's description from the first cloud that finds one on this head node; empty if none does."""
    return next((found for provider in all_providers().values() if (found := provider.running_description())), {})
