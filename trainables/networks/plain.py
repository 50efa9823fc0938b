"""Classifiers that know nothing of this project: any ``nn.Module`` that returns logits."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.networks.activations import last_of_each_resolution
from trainables.networks.base import Network

_BODY = "body."


class PlainNetwork(Network):
    """A classifier by others as the loop needs it.

    Its activations are the last ones of each resolution; ``watch`` names others. Its weights have the names that they have
    in the classifier, behind ``body.``.
    """

    def __init__(self, body: nn.Module, *, image_shape: tuple[int, int, int]) -> None:
        """Wrap a classifier.

        Args:
            body: Takes images (batch, channels, height, width), returns logits (batch, classes).
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
        """Those of the classifier."""
        return [name for name, _ in self.body.named_children()]

    def layer(self, name: str) -> nn.Module:
        return self.body.get_submodule(name)

    def our_key(self, key: str) -> str:
        """Published weights have the classifier's own names."""
        return _BODY + key
