"""Teacher of the data-free engine, which counts the images of its forward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from trainables.networks import Network

Watcher = Callable[[Tensor], None]
"""Function that is called with a layer's input."""


class Observation(NamedTuple):
    """Outputs of a teacher on images."""

    logits: Tensor
    """(batch, classes)."""
    activations: list[Tensor]
    features: Tensor | None
    """Input of the last linear layer, (batch, width). None if the teacher has no linear layer."""


class CountedTeacher:
    """Frozen teacher that counts the images of its forward passes in ``looks``.

    Terms of a source's loss can watch the inputs of its layers during ``observed``. Code that runs another copy of the
    teacher, such as a faster one, must add to ``looks`` itself.
    """

    def __init__(
        self,
        network: Network,
        *,
        forward: Callable[[Network, Tensor], tuple[Tensor, list[Tensor]]],
    ) -> None:
        """Wrap a teacher.

        Args:
            network: The teacher, in eval mode and without gradients of its weights.
            forward: Function that returns logits and activations of a network in the trial's precision.
        """
        self.network = network
        self.looks = 0
        """Images of all forward passes so far."""
        self._forward = forward
        self._watchers: list[tuple[nn.Module, Watcher]] = []
        linear = self.layers(nn.Linear)
        self._last_linear = linear[-1] if linear else None

    @property
    def has_features(self) -> bool:
        """Whether the teacher has a linear layer, whose input the features are."""
        return self._last_linear is not None

    def watch(self, layer: nn.Module, watcher: Watcher) -> None:
        """Call ``watcher`` with the input of a layer during each ``observed``."""
        self._watchers.append((layer, watcher))

    def observed(self, images: Tensor) -> Observation:
        """Return the outputs on images while terms watch the layers; gradients flow back to the images."""
        return self._look(images, self._watchers)

    def asked(self, images: Tensor) -> Tensor:
        """Return the logits of images without calling watchers; gradients flow back to the images."""
        return self._look(images, []).logits

    def features_of(self, images: Tensor) -> Tensor:
        """Return the input of the last linear layer, (batch, width), without calling watchers; gradients flow back."""
        features = self._look(images, []).features
        assert features is not None  # terms that need them are refused with other teachers
        return features

    def layers(self, kind: type[nn.Module] | tuple[type[nn.Module], ...]) -> list[nn.Module]:
        """Return the teacher's modules of a kind, in their order."""
        return [module for module in self.network.modules() if isinstance(module, kind)]

    def _look(self, images: Tensor, watchers: Sequence[tuple[nn.Module, Watcher]]) -> Observation:
        self.looks += len(images)
        seen: list[Tensor] = []
        watched = list(watchers)
        if self._last_linear is not None:
            watched.append((self._last_linear, seen.append))
        # Hooks exist during this forward pass only, so that copies of the network made at other times have none.
        hooks = [layer.register_forward_pre_hook(partial(_tell, watcher)) for layer, watcher in watched]
        try:
            logits, activations = self._forward(self.network, images)
        finally:
            for hook in hooks:
                hook.remove()
        return Observation(logits, activations, seen[-1] if seen else None)


def _tell(watcher: Watcher, _layer: nn.Module, inputs: tuple[Tensor]) -> None:
    watcher(inputs[0])
