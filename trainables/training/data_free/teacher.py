"""The teacher as the engine asks it: each image that it looks at is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from trainables.networks import Network

Watcher = Callable[[Tensor], None]
"""Is shown what a layer is given."""


class Observation(NamedTuple):
    """What a teacher makes of images."""

    logits: Tensor
    """(batch, classes)."""
    activations: list[Tensor]
    features: Tensor | None
    """What the last linear layer was given, (batch, width); None of a teacher without one."""


class CountedTeacher:
    """A frozen teacher that counts its looks: one for each image of a forward pass, whoever asks.

    While ``observed`` the terms of a source's loss watch its modules. What looks on its behalf, such as a copy that is
    faster, adds to ``looks`` itself.
    """

    def __init__(
        self,
        network: Network,
        *,
        forward: Callable[[Network, Tensor], tuple[Tensor, list[Tensor]]],
    ) -> None:
        """Take over a teacher.

        Args:
            network: The teacher, in eval mode and without gradients of its weights.
            forward: How the trial gets logits and activations of a network, in its precision.
        """
        self.network = network
        self.looks = 0
        """Images looked at so far."""
        self._forward = forward
        self._watchers: list[tuple[nn.Module, Watcher]] = []
        linear = self.layers(nn.Linear)
        self._last_linear = linear[-1] if linear else None

    @property
    def has_features(self) -> bool:
        """Whether there is a linear layer to take last features from."""
        return self._last_linear is not None

    def watch(self, layer: nn.Module, watcher: Watcher) -> None:
        """Have a term see what a layer is given, whenever a source is scored and only then."""
        self._watchers.append((layer, watcher))

    def observed(self, images: Tensor) -> Observation:
        """Look at images while terms watch; gradients flow back to the images."""
        return self._look(images, self._watchers)

    def asked(self, images: Tensor) -> Tensor:
        """Return the logits of images that no term watches; gradients flow back to the images."""
        return self._look(images, []).logits

    def features_of(self, images: Tensor) -> Tensor:
        """Return the last features of images that no term watches, (batch, width); gradients flow back to the images."""
        features = self._look(images, []).features
        assert features is not None  # terms that need them are refused with other teachers
        return features

    def layers(self, kind: type[nn.Module] | tuple[type[nn.Module], ...]) -> list[nn.Module]:
        """Return its modules of a kind, in their order."""
        return [module for module in self.network.modules() if isinstance(module, kind)]

    def _look(self, images: Tensor, watchers: Sequence[tuple[nn.Module, Watcher]]) -> Observation:
        self.looks += len(images)
        seen: list[Tensor] = []
        watched = list(watchers)
        if self._last_linear is not None:
            watched.append((self._last_linear, seen.append))
        # For this look alone: whoever copies the network at other times copies nothing of it.
        hooks = [layer.register_forward_pre_hook(partial(_tell, watcher)) for layer, watcher in watched]
        try:
            logits, activations = self._forward(self.network, images)
        finally:
            for hook in hooks:
                hook.remove()
        return Observation(logits, activations, seen[-1] if seen else None)


def _tell(watcher: Watcher, _layer: nn.Module, inputs: tuple[Tensor]) -> None:
    watcher(inputs[0])
