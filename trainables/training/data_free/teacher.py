"""The teacher as the engine asks it: each image that it looks at is counted."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from trainables.networks import Network


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
        self.watching = False
        """Whether hooks of terms should take notice: only while a source is scored."""
        self.features: Tensor | None = None
        """What the last linear layer was given in the last look, (batch, width); None of a teacher without one."""
        self._forward = forward
        linear = self.layers(nn.Linear)
        if linear:
            linear[-1].register_forward_pre_hook(self._keep_features)

    @property
    def has_features(self) -> bool:
        """Whether there is a linear layer to take last features from."""
        return bool(self.layers(nn.Linear))

    def observed(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits (batch, classes) and activations of images, while terms watch; gradients flow back to the
        images."""
        self.looks += len(images)
        self.watching = True
        try:
            return self._forward(self.network, images)
        finally:
            self.watching = False

    def asked(self, images: Tensor) -> Tensor:
        """Return the logits of images that no term watches; gradients flow back to the images."""
        self.looks += len(images)
        return self._forward(self.network, images)[0]

    def features_of(self, images: Tensor) -> Tensor:
        """Return the last features of images that no term watches, (batch, width); gradients flow back to the images."""
        self.asked(images)
        assert self.features is not None  # terms that need them are refused with other teachers
        return self.features

    def layers(self, kind: type[nn.Module] | tuple[type[nn.Module], ...]) -> list[nn.Module]:
        """Return its modules of a kind, in their order."""
        return [module for module in self.network.modules() if isinstance(module, kind)]

    def _keep_features(self, _layer: nn.Module, inputs: tuple[Tensor]) -> None:
        self.features = inputs[0]
