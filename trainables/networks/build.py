"""Build networks by name, such as ``wrn-16-2``, and check networks that are not this project's."""

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
        name: ``lenet``, ``lenet-bn``, ``resnet-D``, ``wrn-D-K``, ``torchvision:NAME``, ``timm:NAME``, an entry point in the
            group ``zskt.networks``, or ``FILE.py:NAME``. The latter two name a function that takes any of the arguments
            below and returns a ``Network``, or a module that returns logits.
        num_classes: Length of the logits.
        channels: Channels of the images; 3 as published, 1 for grey digits.
        image_size: Height and width of the images, for networks whose weights depend on the image size.

    Raises:
        ValueError: the name is unknown.
        NetworkError: the code of the network fails, or returns something other than a module.
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
    except (Exception, SystemExit) as error:  # code of others may raise anything
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
    """Check a network that is not this project's, before a sweep starts trials that would all fail.

    The network takes a forward pass over two images in eval mode, and a forward and a backward pass in train mode, as in a
    trial. Then it is copied, as trials do for measuring. This project's networks are not checked.

    Args:
        name: See ``build_network``.
        num_classes: Length of the logits.
        channels: Channels of the images.
        image_size: Height and width of the images.
        has_generator: Whether a generator will be trained by gradients through the network.
        learns: Whether the network itself will be trained.

    Raises:
        NetworkError: the logits or activations have a wrong shape, the logits are probabilities, NaN or infinite, the
            network changes its input, gives images no gradient, has no trainable weight with ``learns``, or cannot be copied
            or laid out with channels last.
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
        network.to(torch.float32)  # trials compute in float32, whatever type the builder chose
        images = torch.randn(2, *shape)  # like normalised images
        for training in (False, True):
            shown = images.clone().requires_grad_()
            moved = shown * 1  # not a leaf of the graph, like a generator's images
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
                    f"network {name} changes its input images, which other networks also take: a first ReLU or "
                    "normalisation must not work in place"
                )
        _check_copy(name, network)


def _check_outputs(name: str, logits: Any, activations: list[Tensor], num_classes: int) -> None:
    """Check the outputs for two images: shapes of logits and activations, no probabilities, finite numbers.

    Raises:
        NetworkError: a check fails; the message says what was found.
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
            f"network {name} seems to return probabilities: its outputs are not negative and sum to 1. It must return "
            "logits, since the softmax is taken here: leave out the last softmax, or take the logarithm"
        )
    if not logits.isfinite().all():
        raise NetworkError(f"network {name} returns NaN or infinite logits for two images of random pixels")


def _check_gradient(name: str, network: Network, logits: Tensor, images: Tensor) -> None:
    """Check that a backward pass from the logits gives the images a gradient, without which a generator could not learn.

    If the gradient is zero, the check is repeated in conditions as after some training: in eval mode, since BatchNorm in
    train mode may map any two images to 1 and -1, and with random numbers for weights that are all 0, as some heads
    are initialised.

    Raises:
        NetworkError: the images have no gradient, or a gradient of zeros.
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
            f"network {name} gives images no gradient, so a generator cannot learn from it: it must not compute under "
            "torch.no_grad, detach its values, or round them"
        )


def _check_copy(name: str, network: Network) -> None:
    """Check that a network can be copied and its weights laid out with channels last.

    Raises:
        NetworkError: it cannot; the message has the reason.
    """
    try:
        copy.deepcopy(network)
    except (Exception, SystemExit) as error:
        raise NetworkError(
            f"network {name} cannot be copied by copy.deepcopy after a training step: {in_a_line(error)}; instead of "
            "weight_norm and the like use the functions of torch.nn.utils.parametrizations"
        ) from error
    try:
        frozen_copy(network)
        network.to(memory_format=torch.channels_last)
    except (Exception, SystemExit) as error:
        raise NetworkError(
            f"network {name} cannot be laid out with channels last, which weights of five dimensions do not allow: "
            f"{in_a_line(error)}"
        ) from error


def _fails(name: str, shape: tuple[int, int, int], error: BaseException) -> str:
    """Return the message about a network that raised an error."""
    pixels = "x".join(map(str, shape))
    return f"network {name} fails on images of {pixels}: {in_a_line(error)}; lenet, wrn-D-K and resnet-18 take any size"


def _built(builder: Callable[..., Any], *positional: Any, **arguments: Any) -> Any:
    """Call a builder with those arguments that it accepts, since not every network depends on the image size."""
    parameters = inspect.signature(builder).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return builder(*positional, **arguments)
    return builder(*positional, **{name: value for name, value in arguments.items() if name in parameters})
