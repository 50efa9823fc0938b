"""Names of networks that a config may contain. Imports no torch, so that a name is checked in milliseconds.

``wrn-D-K`` is a WideResNet of depth D and width factor K (Zagoruyko & Komodakis, 2016); ``lenet`` is the LeNet-32 of
the published code, ``lenet-bn`` that network with BatchNorm; ``resnet-18`` and ``resnet-34`` are the ResNets of He et al.,
2016, with a stem for small images. Other networks are entry points of installed packages in the group ``zskt.networks``,
or ``FILE.py:NAME``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from trainables.config.plugins import Registry, installed
from trainables.system.own_files import file_of

OTHER_NETWORKS = Registry(what="network", group="zskt.networks", own={})
"""Networks from files and installed packages: functions that take any of ``num_classes``, ``channels`` and
``image_size``."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Family of networks whose names differ in whole numbers only, such as depth and width."""

    pattern: str
    """Regular expression of the names, with a named group for each number."""

    names: str
    """Description of the names for messages."""

    builder: str
    """``MODULE:NAME`` of the function that builds a network from those numbers, ``num_classes`` and ``channels``. Imported
    on use."""

    exists: Callable[..., bool] = lambda **numbers: True
    """Predicate: whether the family has a network with the given numbers."""


FAMILIES = (
    Family(pattern=r"lenet", names="lenet", builder="trainables.networks.lenet:LeNet"),
    Family(pattern=r"lenet-bn", names="lenet-bn", builder="trainables.networks.lenet:lenet_with_batch_norm"),
    # Imports torchvision, which takes each process more than a second.
    Family(
        pattern=r"resnet-(?P<depth>18|34)",
        names="resnet-18, resnet-34",
        builder="trainables.networks.resnet:ResNet",
    ),
    Family(
        pattern=r"wrn-(?P<depth>\d+)-(?P<width_factor>\d+)",
        names="wrn-D-K with D = 10, 16, 22, 28, 34, 40, ... and K >= 1 (for example wrn-16-2)",
        builder="trainables.networks.wide_resnet:WideResNet",
        exists=lambda depth, width_factor: depth >= 10 and (depth - 4) % 6 == 0 and width_factor >= 1,
    ),
)
"""This project's own networks."""

LIBRARIES = {
    "torchvision": "trainables.networks.libraries:torchvision_network",
    "timm": "trainables.networks.libraries:timm_network",
}
"""Builder of the networks ``LIBRARY:NAME``, by library: a function of the name, ``num_classes``, ``channels`` and
``image_size``."""


def find_family(name: str) -> tuple[Family, dict[str, int]] | None:
    """Return the family of one of this project's networks and the numbers in the name; None for any other name."""
    for family in FAMILIES:
        match = re.fullmatch(family.pattern, name)
        numbers = {key: int(number) for key, number in match.groupdict().items()} if match else {}
        if match and family.exists(**numbers):
            return family, numbers
    return None


def library_of(name: str) -> tuple[str, str] | None:
    """Return the builder and the name within the library for ``LIBRARY:NAME``; None for any other name."""
    library, separator, inner = name.partition(":")
    return (LIBRARIES[library], inner) if separator and inner and library in LIBRARIES else None


def check_network_name(name: str) -> str:
    """Return the name unchanged if a network has that name.

    Raises:
        ValueError: no network has that name; the message lists the known names.
    """
    if find_family(name) is not None or library_of(name) is not None:
        return name
    others = installed(OTHER_NETWORKS.group)
    if name in others or file_of(name):
        return OTHER_NETWORKS.check(name)
    *first, last = (family.names for family in FAMILIES)
    raise ValueError(
        f"unknown network {name!r}; known: {', '.join(first)}, or {last}, torchvision:NAME, timm:NAME, or FILE.py:NAME; "
        f"from installed packages: {', '.join(sorted(others)) or 'none'}"
    )
