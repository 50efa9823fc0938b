"""What the loop needs of a teacher or student."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """An image classifier that also shows the activations that attention transfer compares.

    ``forward`` takes normalised images (batch, channels, height, width) and returns logits (batch, classes) and a list of
    activations (batch, width_l, height_l, width_l), one for each attention layer, in order of depth.
    """

    watched: tuple[str, ...] = ()
    """Names of the modules whose outputs are the activations; none: those that ``forward`` returns."""

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        raise NotImplementedError

    def fold_batch_norms(self) -> None:
        """Fold BatchNorms in eval mode into the convolutions before them, where there are such: equal up to rounding.

        For networks that are never trained again.
        """

    def our_key(self, key: str) -> str:
        """The name here of a weight that others have published under another."""
        return key

    @property
    def outermost_layers(self) -> list[str]:
        """Names of the outermost modules, as ``watch`` takes them."""
        return [name for name, _ in self.named_children()]

    def layer(self, name: str) -> nn.Module:
        """Return the module of that name.

        Raises:
            AttributeError: there is none.
        """
        return self.get_submodule(name)

    def watch(self, layers: Iterable[str]) -> None:
        """Return the outputs of these modules as activations from now on.

        Args:
            layers: Names of modules, in order of depth.

        Raises:
            AttributeError: there is no such module.
            ValueError: a name is there twice.
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
        self._outputs.clear()  # of a call that failed
        result = super().__call__(images)
        missing = [name for name in self.watched if name not in self._outputs]
        if missing:
            raise ValueError(f"{', '.join(missing)} was not called, so there is no output to compare")
        return result[0], [self._outputs.pop(name) for name in self.watched]


@contextmanager
def in_eval_mode(*networks: Network) -> Iterator[None]:
    """Within the block the networks are in eval mode; afterwards each of their modules is in the mode it was in.

    A student that went on training in eval mode would stop updating its statistics, which costs points of accuracy and is
    the known fault of one re-implementation.
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
    """A copy that is only looked through: eval mode, no gradients of weights, and fast, which changes it by rounding."""
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    if not copied.watched:  # else a folded module could be one of those
        copied.fold_batch_norms()
    return copied.to(memory_format=torch.channels_last)
