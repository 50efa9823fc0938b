"""From a name such as ``wrn-16-2`` to a network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from trainables.config.datasets import IMAGE_SIZE, ImageSize, Shapes
from trainables.config.network_names import OTHER_NETWORKS, check_network_name, find_family
from trainables.config.plugins import load
from trainables.errors import NetworkError
from trainables.networks.base import Network
from trainables.seeding import seeded


def build_network(name: str, *, num_classes: int, channels: int = 3, image_size: ImageSize = IMAGE_SIZE) -> Network:
    """Build a network with fresh weights, drawn from torch's global random state.

    Args:
        name: ``lenet``, ``resnet-D``, ``wrn-D-K``, or that of an entry point in the group ``zskt.networks``, or
            ``FILE.py:NAME``: a function that returns a ``Network``, of ``num_classes``, ``channels`` and, if it asks
            for it, ``image_size``.
        num_classes: Length of the logits.
        channels: Channels of the images; 3 as published, 1 for grey digits.
        image_size: Height and width of the images, for networks whose weights depend on them.

    Raises:
        ValueError: unknown name.
        NetworkError: what brings the network fails, or brings something else.
    """
    check_network_name(name)
    shapes = Shapes(num_classes=num_classes, channels=channels, image_size=image_size)
    own = find_family(name)
    if own is not None:
        family, numbers = own
        built: Network = _built(load(family.builder), **numbers, **shapes)
        return built
    origin = OTHER_NETWORKS.origin(name)
    try:
        network = _built(OTHER_NETWORKS.load(name), **shapes)
    except Exception as error:  # whatever somebody else's code raises
        raise NetworkError(f"network {origin} cannot be built: {error!r}") from error
    if not isinstance(network, Network):
        raise NetworkError(f"network {origin} is a {type(network).__name__}; it must be a trainables.networks.Network")
    return network


def check_network(name: str, *, num_classes: int, channels: int, image_size: ImageSize = IMAGE_SIZE) -> None:
    """Try out a network that is not this project's, before trials are started that would fail one after the other.

    Raises:
        NetworkError: it does not return what ``Network.forward`` says.
    """
    if find_family(name) is not None:
        return
    with seeded(0, "only looked at"), torch.no_grad():
        network = build_network(name, num_classes=num_classes, channels=channels, image_size=image_size).eval()
        try:
            logits, activations = network(torch.zeros(2, channels, *image_size))
            shapes = [tuple(logits.shape), *(tuple(activation.shape) for activation in activations)]
        except Exception as error:
            shape = "x".join(map(str, (channels, *image_size)))
            raise NetworkError(f"network {name} fails on two images of {shape}: {error!r}") from error
    if shapes[0] != (2, num_classes) or any(len(shape) != 4 or shape[0] != 2 for shape in shapes[1:]):
        raise NetworkError(
            f"network {name} returns tensors of shape {shapes} for two images; expected are logits (2, {num_classes}) and "
            "activations (2, channels, height, width)"
        )


def _built(builder: Callable[..., Any], **arguments: Any) -> Any:
    """Call a builder with those of the arguments that it takes: not each network asks how large images are."""
    parameters = inspect.signature(builder).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return builder(**arguments)
    return builder(**{name: value for name, value in arguments.items() if name in parameters})
