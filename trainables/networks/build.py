"""From a name such as ``wrn-16-2`` to a network."""

from __future__ import annotations

import torch

from trainables.config.datasets import IMAGE_SIZE
from trainables.config.network_names import LeNetName, OwnNetworkName, ResNetName, WideResNetName, parse_network_name
from trainables.errors import NetworkError
from trainables.networks.base import Network
from trainables.networks.lenet import LeNet
from trainables.networks.wide_resnet import WideResNet
from trainables.seeding import seeded


def build_network(name: str, *, num_classes: int, channels: int = 3) -> Network:
    """Build a network with fresh weights, drawn from torch's global random state.

    Args:
        name: ``lenet``, ``resnet-D``, ``wrn-D-K``, or that of an entry point in the group ``zskt.networks``: a function of
            ``num_classes`` and ``channels`` that returns a ``Network``.
        num_classes: Length of the logits.
        channels: Channels of the images; 3 as published, 1 for grey digits.

    Raises:
        ValueError: unknown name.
        NetworkError: the package that brings the network fails, or brings something else.
    """
    match parse_network_name(name):
        case LeNetName():
            return LeNet(num_classes=num_classes, channels=channels)
        case ResNetName(depth=depth):
            from trainables.networks.resnet import ResNet  # brings torchvision, more than a second for each process

            return ResNet(depth=depth, num_classes=num_classes, channels=channels)
        case WideResNetName(depth=depth, width_factor=width_factor):
            return WideResNet(depth=depth, width_factor=width_factor, num_classes=num_classes, channels=channels)
        case OwnNetworkName(entry=entry):
            try:
                network = entry.load()(num_classes=num_classes, channels=channels)
            except Exception as error:  # whatever somebody else's code raises
                raise NetworkError(f"network {name} ({entry.value}) cannot be built: {error!r}") from error
            if not isinstance(network, Network):
                raise NetworkError(
                    f"network {name} ({entry.value}) is a {type(network).__name__}; it must be a trainables.networks.Network"
                )
            return network


def check_network(name: str, *, num_classes: int, channels: int) -> None:
    """Try out a network of another package, before trials are started that would fail one after the other.

    Raises:
        NetworkError: it does not return what ``Network.forward`` says.
    """
    if not isinstance(parse_network_name(name), OwnNetworkName):
        return
    with seeded(0, "only looked at"), torch.no_grad():
        network = build_network(name, num_classes=num_classes, channels=channels).eval()
        try:
            logits, activations = network(torch.zeros(2, channels, IMAGE_SIZE, IMAGE_SIZE))
            shapes = [tuple(logits.shape), *(tuple(activation.shape) for activation in activations)]
        except Exception as error:
            raise NetworkError(f"network {name} fails on two images of {channels}x32x32: {error!r}") from error
    if shapes[0] != (2, num_classes) or any(len(shape) != 4 or shape[0] != 2 for shape in shapes[1:]):
        raise NetworkError(
            f"network {name} returns tensors of shape {shapes} for two images; expected are logits (2, {num_classes}) and "
            "activations (2, channels, height, width)"
        )
