"""From a name such as ``wrn-16-2`` to a network."""

from __future__ import annotations

import torch

from trainables.config.datasets import IMAGE_SIZE
from trainables.config.network_names import OTHER_NETWORKS, check_network_name, find_family
from trainables.config.plugins import load
from trainables.errors import NetworkError
from trainables.networks.base import Network, in_eval_mode
from trainables.seeding import seeded


def build_network(name: str, *, num_classes: int, channels: int = 3) -> Network:
    """Build a network with fresh weights, drawn from torch's global random state.

    Args:
        name: ``lenet``, ``resnet-D``, ``wrn-D-K``, or that of an entry point in the group ``zskt.networks``, or
            ``FILE.py:NAME``: a function of ``num_classes`` and ``channels`` that returns a ``Network``.
        num_classes: Length of the logits.
        channels: Channels of the images; 3 as published, 1 for grey digits.

    Raises:
        ValueError: unknown name.
        NetworkError: what brings the network fails, or brings something else.
    """
    check_network_name(name)
    own = find_family(name)
    if own is not None:
        family, numbers = own
        built: Network = load(family.builder)(**numbers, num_classes=num_classes, channels=channels)
        return built
    origin = OTHER_NETWORKS.origin(name)
    try:
        network = OTHER_NETWORKS.load(name)(num_classes=num_classes, channels=channels)
    except (Exception, SystemExit) as error:  # whatever somebody else's code raises
        raise NetworkError(f"network {origin} cannot be built: {error!r}") from error
    if not isinstance(network, Network):
        raise NetworkError(f"network {origin} is a {type(network).__name__}; it must be a trainables.networks.Network")
    return network


def check_attention(
    student: Network, teacher: Network, *, names: tuple[str, str], channels: int, weight: float
) -> None:
    """Refuse attention transfer between networks whose activations do not match, found out by a blank image.

    Args:
        student: As it is; no statistic of it moves.
        teacher: Likewise.
        names: Of both, for messages.
        channels: Of the images.
        weight: The config's ``attention_weight``, for messages.

    Raises:
        ValueError: they have none, or not as many or not as large in both; the message has the sizes and the remedy.
    """
    weight_of = next(teacher.parameters())
    blank = torch.zeros(1, channels, IMAGE_SIZE, IMAGE_SIZE, device=weight_of.device, dtype=weight_of.dtype)
    with seeded(0, "only looked at", blank.device), torch.no_grad(), in_eval_mode(student, teacher):
        sizes = [[tuple(activation.shape[2:]) for activation in network(blank)[1]] for network in (student, teacher)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"attention_weight={weight:g}: the activations of {names[0]} {sizes[0]} and {names[1]} {sizes[1]} differ in "
            "size; allowed: attention_weight=0, or two networks of one family"
        )
    if not sizes[0]:
        raise ValueError(
            f"attention_weight={weight:g}: {names[0]} and {names[1]} return no activations to compare; allowed: "
            "attention_weight=0"
        )


def check_network(name: str, *, num_classes: int, channels: int) -> None:
    """Try out a network that is not this project's, before trials are started that would fail one after the other.

    Raises:
        NetworkError: it does not return what ``Network.forward`` says.
    """
    if find_family(name) is not None:
        return
    with seeded(0, "only looked at"), torch.no_grad():
        network = build_network(name, num_classes=num_classes, channels=channels).eval()
        try:
            logits, activations = network(torch.zeros(2, channels, IMAGE_SIZE, IMAGE_SIZE))
            shapes = [tuple(logits.shape), *(tuple(activation.shape) for activation in activations)]
        except (Exception, SystemExit) as error:
            raise NetworkError(f"network {name} fails on two images of {channels}x32x32: {error!r}") from error
    if shapes[0] != (2, num_classes) or any(len(shape) != 4 or shape[0] != 2 for shape in shapes[1:]):
        raise NetworkError(
            f"network {name} returns tensors of shape {shapes} for two images; expected are logits (2, {num_classes}) and "
            "activations (2, channels, height, width)"
        )
