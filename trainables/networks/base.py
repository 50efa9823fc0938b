"""Base class of teachers and students, and helpers for networks that are only evaluated."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """Image classifier that also returns the activations that attention transfer compares.

    ``forward`` takes normalised images (batch, channels, height, width) and returns logits (batch, classes) and a list of
    activations (batch, width_l, height_l, width_l), one for each attention layer, in order of depth.
    """

    watched: tuple[str, ...] = ()
    """Names of the modules whose outputs are the activations. If empty, the activations are those that ``forward``
    returns."""

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        raise NotImplementedError

    def fold_batch_norms(self) -> None:
        """Fold BatchNorms in eval mode into the preceding convolutions where possible; outputs are equal up to rounding.

        Only for networks that are never trained again. Does nothing by default.
        """

    def our_key(self, key: str) -> str:
        """Return this network's name of a weight, given the name under which others publish it."""
        return key

    @property
    def outermost_layers(self) -> list[str]:
        """Names of the outermost modules, in the form that ``watch`` takes."""
        return [name for name, _ in self.named_children()]

    def layer(self, name: str) -> nn.Module:
        """Return the module with a name.

        Raises:
            AttributeError: there is no such module.
        """
        return self.get_submodule(name)

    def watch(self, layers: Iterable[str]) -> None:
        """Select the modules whose outputs are returned as activations from now on.

        Args:
            layers: Names of modules, in order of depth.

        Raises:
            AttributeError: there is no such module.
            ValueError: a name is given twice.
        """
        names = tuple(layers)
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"{', '.join(doubled)} is named more than once")
        for handle in self.__dict__.pop("_handles", []):
            handle.remove()
        self.watched = names
        self._outputs: dict[str, Tensor] = {}
        self._handles = [self.layer(name).register_forward_hook(partial(self._note, name)) for name in self.watched]

    def _note(self, name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._outputs[name] = output

    def __call__(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        if not self.watched:
            result: tuple[Tensor, list[Tensor]] = super().__call__(images)
            return result
        self._outputs.clear()  # a failed call may have left some
        result = super().__call__(images)
        missing = [name for name in self.watched if name not in self._outputs]
        if missing:
            raise ValueError(f"{', '.join(missing)} was not called, so there is no output to compare")
        return result[0], [self._outputs.pop(name) for name in self.watched]


@contextmanager
def in_eval_mode(*networks: Network) -> Iterator[None]:
    """Put networks into eval mode for the duration of the block, then restore the mode of each of their modules.

    A student that was left in eval mode would no longer update its BatchNorm statistics in training. This costs points of
    accuracy, and is a known fault of one re-implementation.
    """
    modes = {module: module.training for network in networks for module in network.modules()}
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def frozen_copy(network: Network) -> Network:
    """Return a copy for evaluation only: in eval mode, without gradients of weights, and laid out for speed.

    Its outputs differ from the network's by rounding.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    if not copied.watched:  # folding could change the outputs of watched modules
        copied.fold_batch_norms()
    return copied.to(memory_format=torch.channels_last)
