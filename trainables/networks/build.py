"""From a name such as ``wrn-16-2`` to a network."""

from __future__ import annotations

from trainables.network_names import LeNetName, ResNetName, parse_network_name
from trainables.networks.base import Network
from trainables.networks.lenet import LeNet
from trainables.networks.resnet import ResNet
from trainables.networks.wide_resnet import WideResNet


def build_network(name: str, *, num_classes: int, channels: int = 3) -> Network:
    """Build a network with fresh weights, drawn from torch's global random state.

    Args:
        name: ``lenet``, ``resnet-D`` or ``wrn-D-K``.
        num_classes: Length of the logits.
        channels: Channels of the images; 3 as published, 1 for grey digits.

    Raises:
        ValueError: unknown name.
    """
    match parse_network_name(name):
        case LeNetName():
            return LeNet(num_classes=num_classes, channels=channels)
        case ResNetName(depth=depth):
            return ResNet(depth=depth, num_classes=num_classes, channels=channels)
        case wide:
            return WideResNet(
                depth=wide.depth, width_factor=wide.width_factor, num_classes=num_classes, channels=channels
            )
