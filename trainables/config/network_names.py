"""The grammar of network names, free of torch so that a config can check a name in milliseconds.

``wrn-D-K`` is a WideResNet of depth D and width factor K (Zagoruyko & Komodakis, 2016); ``lenet`` is the LeNet-32 of
the published code; ``resnet-18`` and ``resnet-34`` are those of He et al., 2016, with a stem for small images. Other names
are those of entry points that installed packages have in the group ``zskt.networks``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint

from trainables.config.plugins import installed

OWN_NETWORKS = "zskt.networks"
"""Group of the entry points by which other packages bring networks."""

_WIDE_RESNET = re.compile(r"wrn-(\d+)-(\d+)")
RESNET_DEPTHS = (18, 34)
KNOWN_NETWORKS = (
    "lenet, resnet-18, resnet-34, or wrn-D-K with D = 10, 16, 22, 28, 34, 40, ... and K >= 1 (for example wrn-16-2)"
)


@dataclass(frozen=True, kw_only=True)
class WideResNetName:
    """Depth (6n + 4 layers) and width factor of a WideResNet."""

    depth: int
    width_factor: int


@dataclass(frozen=True, kw_only=True)
class ResNetName:
    """Depth of a ResNet."""

    depth: int


@dataclass(frozen=True, kw_only=True)
class LeNetName:
    """LeNet has no size to choose."""


@dataclass(frozen=True, kw_only=True)
class OwnNetworkName:
    """A network that another package brings."""

    entry: EntryPoint


NetworkKind = WideResNetName | ResNetName | LeNetName | OwnNetworkName


def parse_network_name(name: str) -> NetworkKind:
    """Read a network name.

    Raises:
        ValueError: the name is not in the grammar; the message gives the grammar.
    """
    if name == "lenet":
        return LeNetName()
    if name in {f"resnet-{depth}" for depth in RESNET_DEPTHS}:
        return ResNetName(depth=int(name.removeprefix("resnet-")))
    match = _WIDE_RESNET.fullmatch(name)
    if match:
        depth, width_factor = int(match[1]), int(match[2])
        if depth >= 10 and (depth - 4) % 6 == 0 and width_factor >= 1:
            return WideResNetName(depth=depth, width_factor=width_factor)
    own = installed(OWN_NETWORKS)
    if name in own:
        return OwnNetworkName(entry=own[name])
    known = f"{KNOWN_NETWORKS}; from installed packages: {', '.join(sorted(own)) or 'none'}"
    raise ValueError(f"unknown network {name!r}; known: {known}")


def check_network_name(name: str) -> str:
    """Return the name unchanged if it is in the grammar, raise ``ValueError`` otherwise."""
    parse_network_name(name)
    return name
