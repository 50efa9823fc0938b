"""Choose the activations of two networks that attention transfer compares, by their resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn

from trainables.config.datasets import ImageSize
from trainables.networks.base import Network, in_eval_mode


def activation_sizes(network: Network, image_shape: tuple[int, int, int]) -> list[ImageSize]:
    """Return height and width of each activation that a network returns, in the network's order.

    Args:
        network: Takes one forward pass over a blank image, in eval mode, so that no statistics change.
        image_shape: Channels, height and width of the images.

    Raises:
        ValueError: a watched module is not called, or its output is no activation.
    """
    with in_eval_mode(network), torch.no_grad():
        _, activations = network(_blank(network, image_shape))
    for name, output in zip(network.watched, activations, strict=False):
        what: object = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if not _is_activation(output, image_shape):
            raise ValueError(
                f"{name} returns {what} for one image of {'x'.join(map(str, image_shape))}; expected is a tensor (1, "
                "channels, height, width) whose height and width shrink alike"
            )
    return [(activation.shape[2], activation.shape[3]) for activation in activations]


def attention_pairs(student: Sequence[ImageSize], teacher: Sequence[ImageSize]) -> list[tuple[int, int]]:
    """Return the pairs of activations that attention transfer compares, as (index of student's, index of teacher's).

    Networks of one family have activations of the same sizes, which are compared in order (equation 2 of section 2).
    Otherwise the last activations of each resolution that both networks have are compared. Attention maps of one pixel are
    left out: they carry no information, since maps are normalised.

    Args:
        student: Height and width of each activation of the student.
        teacher: Height and width of each activation of the teacher.
    """
    if list(student) == list(teacher):
        return [(index, index) for index in range(len(student))]
    of_student, of_teacher = ({size: index for index, size in enumerate(sizes)} for sizes in (student, teacher))
    both = of_student.keys() & of_teacher.keys() - {(1, 1)}
    return sorted((of_student[size], of_teacher[size]) for size in both)


def last_of_each_resolution(body: nn.Module, image_shape: tuple[int, int, int]) -> list[str]:
    """Return the names of the modules with the last activations of each resolution, in order of depth.

    Modules are ordered by when they return, so a container comes after its parts. Outputs with channels last do not count. A
    module that is called at several resolutions, such as a ReLU shared by all blocks, or that also returns vectors, is left
    out.

    Args:
        body: Any module; takes one forward pass over a blank image, in eval mode.
        image_shape: Channels, height and width of the images.
    """
    sizes: dict[str, set[ImageSize]] = {}
    order: list[str] = []

    def note(name: str, output: object) -> None:
        if _is_activation(output, image_shape) and output.shape[2] * output.shape[3] > 1:
            sizes.setdefault(name, set()).add((output.shape[2], output.shape[3]))
            order.append(name)
        else:
            sizes.setdefault(name, set()).add((0, 0))

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in body.named_modules()
        if name and "parametrizations" not in name.split(".")  # the whole returns logits, parametrizations weights
    ]
    training = body.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            body.eval()(_blank(body, image_shape))
    finally:
        body.train(training)
        for hook in hooks:
            hook.remove()
    last: dict[ImageSize, str] = {}
    for name in order:
        if len(sizes[name]) == 1:
            (size,) = sizes[name]
            last.pop(size, None)
            last[size] = name
    return list(last.values())


def _is_activation(output: object, image_shape: tuple[int, int, int]) -> TypeGuard[Tensor]:
    """Return whether an output for one image is (1, channels, height, width), not (1, height, width, channels).

    Layers with total stride s map a side n to (n + c) // s, with the same c for both sides. The difference of the sides
    therefore shrinks in the same proportion, up to a pixel. For square images the two forms cannot be told apart if there
    are as many channels as columns.
    """
    if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != 1:
        return False
    (_, *whole), (_, _, *sides) = image_shape, output.shape
    difference, shrunk = whole[0] - whole[1], sides[0] - sides[1]
    if difference == shrunk:
        return True
    return any(
        abs(difference - stride * shrunk) < stride
        and all(stride * (side - 1) < pixels for side, pixels in zip(sides, whole, strict=True))
        for stride in range(2, max(whole) + 1)
    )


def _blank(network: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    """Return one image of zeros, on the device and of the type of the network's weights."""
    weight = next(network.parameters(), torch.empty(0))
    return torch.zeros(1, *image_shape, device=weight.device, dtype=weight.dtype)
