"""Wrapper for classifiers that were not written for this project: any ``nn.Module`` that returns logits."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.networks.activations import last_of_each_resolution
from trainables.networks.base import Network

_BODY = "body."


class PlainNetwork(Network):
    """Wrapper that makes a ``Network`` of any classifier.

    The activations are by default the last ones of each resolution; ``watch`` selects others. The weights have the
    classifier's own names with the prefix ``body.``.
    """

    def __init__(self, body: nn.Module, *, image_shape: tuple[int, int, int]) -> None:
        """Wrap a classifier.

        Args:
            body: Classifier that takes images (batch, channels, height, width) and returns logits (batch, classes).
            image_shape: Channels, height and width of the images.
        """
        super().__init__()
        self.body = body
        self.watch(last_of_each_resolution(body, image_shape))

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits: Tensor = self.body(images)
        return logits, []

    @property
    def outermost_layers(self) -> list[str]:
        """Names of the classifier's outermost modules."""
        return [name for name, _ in self.body.named_children()]

    def layer(self, name: str) -> nn.Module:
        return self.body.get_submodule(name)

    def our_key(self, key: str) -> str:
        """Add the prefix to a name, since published weights have the classifier's own names."""
        return _BODY + key
