"""From a name such as ``wrn-16-2`` to a network."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainables.config.datasets import IMAGE_SIZE, ImageSize, Shapes
from trainables.config.network_names import OTHER_NETWORKS, check_network_name, find_family, library_of
from trainables.config.plugins import load
from trainables.errors import NetworkError, in_a_line
from trainables.networks.base import Network, frozen_copy
from trainables.networks.plain import PlainNetwork
from trainables.seeding import seeded


def build_network(name: str, *, num_classes: int, channels: int = 3, image_size: ImageSize = IMAGE_SIZE) -> Network:
    """Build a network with fresh weights, drawn from torch's global random state.

    Args:
        name: ``lenet``, ``lenet-bn``, ``resnet-D``, ``wrn-D-K``, or that of an entry point in the group
            ``zskt.networks``, or ``torchvision:NAME``, ``timm:NAME``, ``FILE.py:NAME``: a function of any of the
            arguments below that returns a ``Network``, or a module that returns logits.
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
    library = library_of(name)
    origin = name if library else OTHER_NETWORKS.origin(name)
    try:
        network = (
            _built(load(library[0]), library[1], **shapes) if library else _built(OTHER_NETWORKS.load(name), **shapes)
        )
    except NetworkError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody else's code raises
        raise NetworkError(f"network {origin} cannot be built: {in_a_line(error)}") from error
    if isinstance(network, Network):
        return network
    if not isinstance(network, nn.Module):
        raise NetworkError(
            f"network {origin} is a {type(network).__name__}; it must be a torch.nn.Module that returns logits, or a "
            "trainables.networks.Network"
        )
    try:
        return PlainNetwork(network, image_shape=(channels, *image_size))
    except Exception as error:
        raise NetworkError(_fails(origin, (channels, *image_size), error)) from error


def check_network(
    name: str,
    *,
    num_classes: int,
    channels: int,
    image_size: ImageSize = IMAGE_SIZE,
    has_generator: bool = True,
    learns: bool = False,
) -> None:
    """Try out a network that is not this project's, before trials are started that would fail one after the other.

    Two images are looked at as a trial does it, in eval mode and in train mode with gradients; then a copy is made for
    measuring, as trials do.

    Args:
        name: See ``build_network``, as for the others.
        num_classes: Of the logits.
        channels: Of the images.
        image_size: Height and width.
        has_generator: Whether a generator is to learn by the network.
        learns: Whether the network itself is to be trained.

    Raises:
        NetworkError: it returns no logits of so many classes or no activations, NaN or infinite ones, changes its input,
            gives images no gradient, has no weight that learns although it is to, or cannot be copied or laid out for
            speed.
    """
    if find_family(name) is not None:
        return
    shape = (channels, *image_size)
    with seeded(0, "only looked at"):
        network = build_network(name, num_classes=num_classes, channels=channels, image_size=image_size)
        if learns and not any(weight.requires_grad for weight in network.parameters()):
            raise NetworkError(
                f"network {name} has no weight that learns: a student needs parameters with requires_grad=True"
            )
        network.to(torch.float32)  # as trials compute, whatever its builder made of the weights
        images = torch.randn(2, *shape)  # normalised, as teachers see them
        for training in (False, True):
            shown = images.clone().requires_grad_()
            moved = shown * 1  # no leaf, as a generator's images are none
            try:
                logits, activations = network.train(training)(moved)
                _check_outputs(name, logits, activations, num_classes)
                if training and not has_generator:
                    logits.sum().backward()
                elif training:
                    _check_gradient(name, network, logits, shown)
            except NetworkError:
                raise
            except (Exception, SystemExit) as error:
                raise NetworkError(_fails(name, shape, error)) from error
            if not torch.equal(moved, images):
                raise NetworkError(
                    f"network {name} changes the images that it looks at; others look at them too: a first ReLU or "
                    "normalisation must not work in place"
                )
        _check_copy(name, network)


def _check_outputs(name: str, logits: Any, activations: list[Tensor], num_classes: int) -> None:
    """Refuse what is neither logits nor activations.

    Raises:
        NetworkError: with what was found.
    """
    if not isinstance(logits, Tensor):
        raise NetworkError(f"network {name} returns a {type(logits).__name__}; it must return logits, a tensor")
    shapes = [tuple(logits.shape), *(tuple(activation.shape) for activation in activations)]
    if shapes[0] != (2, num_classes) or any(len(shape) != 4 or shape[0] != 2 for shape in shapes[1:]):
        raise NetworkError(
            f"network {name} returns tensors of shape {shapes} for two images; expected are logits (2, {num_classes}) and "
            "activations (2, channels, height, width)"
        )
    if (logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones(2), atol=1e-4):
        raise NetworkError(
            f"network {name} returns probabilities, it seems: its answers are not negative and sum to 1. It must return "
            "logits, of which the softmax is taken here: leave out the last softmax, or take the logarithm"
        )
    if not logits.isfinite().all():
        raise NetworkError(f"network {name} answers two images of random pixels with NaN or infinite logits")


def _check_gradient(name: str, network: Network, logits: Tensor, images: Tensor) -> None:
    """Go backward from logits to images, and refuse a network by which a generator could not learn.

    Where zeros arrive, it is looked for once more as after some training: in eval mode, since BatchNorm may answer any two
    images with 1 and -1, and with other weights for those that are 0 in all, as some heads begin.

    Raises:
        NetworkError: no gradient arrives, or one of zeros.
    """
    if logits.requires_grad:
        (logits * torch.randn_like(logits)).sum().backward()
    if images.grad is not None and not images.grad.any():
        for weight in network.parameters():
            if not weight.any():
                nn.init.normal_(weight, std=0.1)
        shown = images.detach().clone().requires_grad_()
        logits, _ = network.eval()(shown * 1)
        if logits.requires_grad:
            (logits * torch.randn_like(logits)).sum().backward()
        images.grad = shown.grad
    if images.grad is None or not images.grad.any():
        raise NetworkError(
            f"network {name} gives images no gradient, so a generator learns nothing by it: it must not compute under "
            "torch.no_grad, detach what it computes, or round it"
        )


def _check_copy(name: str, network: Network) -> None:
    """Refuse a network of which no copy can be made, or whose weights cannot be laid out as others are.

    Raises:
        NetworkError: with the reason.
    """
    try:
        copy.deepcopy(network)
    except (Exception, SystemExit) as error:
        raise NetworkError(
            f"network {name} cannot be copied after a training step, as copy.deepcopy does: {in_a_line(error)}; of "
            "weight_norm and the like use those of torch.nn.utils.parametrizations"
        ) from error
    try:
        frozen_copy(network)
        network.to(memory_format=torch.channels_last)
    except (Exception, SystemExit) as error:
        raise NetworkError(
            f"network {name} cannot be laid out with channels last, which weights of five dimensions cannot: "
            f"{in_a_line(error)}"
        ) from error


def _fails(name: str, shape: tuple[int, int, int], error: BaseException) -> str:
    """What a network that raised an error is told as."""
    pixels = "x".join(map(str, shape))
    return f"network {name} fails on images of {pixels}: {in_a_line(error)}; lenet, wrn-D-K and resnet-18 take any size"


def _built(builder: Callable[..., Any], *positional: Any, **arguments: Any) -> Any:
    """Call a builder with those of the arguments that it takes: not each network asks how large images are."""
    parameters = inspect.signature(builder).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return builder(*positional, **arguments)
    return builder(*positional, **{name: value for name, value in arguments.items() if name in parameters})
