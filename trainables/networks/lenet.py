"""LeNet; for images of 32x32 pixels that of the published code (section 1.3)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config.datasets import IMAGE_SIZE, ImageSize
from trainables.networks.base import Network


class LeNet(Network):
    """LeNet: two 5x5 convolutions without padding and three linear layers.

    62,006 parameters for 3 channels, 32x32 pixels and 10 classes. The shape of the first linear layer depends on the image
    size, which must be at least 16x16.

    The two activations are the convolutions' outputs *after* the ReLU, since the published network applies this ReLU in
    place to the tensors that it returns.
    """

    def __init__(
        self, *, num_classes: int, channels: int = 3, image_size: ImageSize = IMAGE_SIZE, batch_norm: bool = False
    ) -> None:
        """Draw fresh weights.

        Args:
            num_classes: Length of the logits.
            channels: Channels of the images.
            image_size: Height and width of the images, in pixels.
            batch_norm: Whether BatchNorm stands between each convolution and its ReLU, for data-free methods with the term
                ``batch_norm``; not published.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.bn1 = nn.BatchNorm2d(6) if batch_norm else nn.Identity()
        self.bn2 = nn.BatchNorm2d(16) if batch_norm else nn.Identity()
        height, width = (((pixels - 4) // 2 - 4) // 2 for pixels in image_size)
        self.fc1 = nn.Linear(16 * height * width, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        first = F.relu(self.bn1(self.conv1(images)))  # as published: (batch, 6, 28, 28)
        second = F.relu(self.bn2(self.conv2(F.max_pool2d(first, 2))))  # (batch, 16, 10, 10)
        hidden = F.max_pool2d(second, 2).flatten(1)  # (batch, 400)
        hidden = F.relu(self.fc1(hidden))
        hidden = F.relu(self.fc2(hidden))
        return self.fc3(hidden), [first, second]


def lenet_with_batch_norm(*, num_classes: int, channels: int = 3, image_size: ImageSize = IMAGE_SIZE) -> LeNet:
    """Build a ``LeNet`` with BatchNorm; the arguments are those of ``LeNet``."""
    return LeNet(num_classes=num_classes, channels=channels, image_size=image_size, batch_norm=True)
