"""ResNet-18 and ResNet-34 for 32x32 images, the networks of most other data-free methods' experiments.

He et al., 2016, with the stem that has become usual for small images: one 3x3 convolution without stride, and no pooling.
Blocks and names of weights are torchvision's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as TorchvisionResNet

from trainables.networks.base import Network

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Number of blocks in each of the four groups, by depth."""


class ResNet(Network):
    """ResNet: four groups of basic blocks of width 64, 128, 256 and 512; all groups but the first halve the resolution.

    The four activations are the outputs of the groups, after the last ReLU. ResNet-18 has 11,173,962 parameters for 10
    classes, ResNet-34 has 21,282,122.
    """

    def __init__(self, *, depth: int, num_classes: int, channels: int = 3) -> None:
        super().__init__()
        body = TorchvisionResNet(BasicBlock, list(BLOCKS[depth]), num_classes=num_classes)
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1: nn.Module = body.bn1
        self.layer1, self.layer2, self.layer3, self.layer4 = body.layer1, body.layer2, body.layer3, body.layer4
        self.fc = body.fc

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        first = self.layer1(F.relu(self.bn1(self.conv1(images)), inplace=True))  # of 32x32 images: (batch, 64, 32, 32)
        second = self.layer2(first)  # (batch, 128, 16, 16)
        third = self.layer3(second)  # (batch, 256, 8, 8)
        fourth = self.layer4(third)  # (batch, 512, 4, 4)
        return self.fc(fourth.mean((2, 3))), [first, second, third, fourth]

    def fold_batch_norms(self) -> None:
        self.conv1, self.bn1 = _folded(self.conv1, self.bn1)
        for block in self.modules():
            if isinstance(block, BasicBlock):
                block.conv1, block.bn1 = _folded(block.conv1, block.bn1)
                block.conv2, block.bn2 = _folded(block.conv2, block.bn2)
                if block.downsample is not None:
                    block.downsample = nn.Sequential(*_folded(*block.downsample))

    def our_key(self, key: str) -> str:
        """Return torchvision's name of a weight, given that in the implementation of most published CIFAR-10 weights."""
        return key.replace(".shortcut.", ".downsample.").replace("linear.", "fc.")


def _folded(convolution: nn.Conv2d, norm: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    """Return a convolution with the following BatchNorm folded in, and the module that replaces the BatchNorm.

    A norm that is no ``BatchNorm2d`` stays as it is.
    """
    if not isinstance(norm, nn.BatchNorm2d):
        return convolution, norm
    return fuse_conv_bn_eval(convolution, norm), nn.Identity()
