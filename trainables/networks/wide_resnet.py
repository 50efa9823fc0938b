"""WideResNet-d-k with pre-activation (Zagoruyko & Komodakis, 2016), as in the published code (section 1.2).

Module names are those of the authors' published checkpoints, except for the shortcut convolution (see ``our_key``).
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trainables.networks.base import Network


class WideResNet(Network):
    """WideResNet: three groups of (depth - 4) / 6 basic blocks, of width 16k, 32k and 64k.

    The first group keeps the images' resolution; each of the other two halves it. The three activations are the raw residual
    sums at the end of the groups, before the next BatchNorm and ReLU. WRN-16-1 has 175,066 parameters for 10 classes,
    WRN-40-2 has 2,243,546.
    """

    def __init__(self, *, depth: int, width_factor: int, num_classes: int, channels: int = 3) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        widths = [16, 16 * width_factor, 32 * width_factor, 64 * width_factor]
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.block1 = _Group(blocks, widths[0], widths[1], stride=1)
        self.block2 = _Group(blocks, widths[1], widths[2], stride=2)
        self.block3 = _Group(blocks, widths[2], widths[3], stride=2)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        nn.init.zeros_(self.fc.bias)  # the weight keeps torch's default, as published

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        first = self.block1(self.conv1(images))  # as published: (batch, 16k, 32, 32)
        second = self.block2(first)  # (batch, 32k, 16, 16)
        third = self.block3(second)  # (batch, 64k, 8, 8)
        size: list[int] = list(third.shape[2:])
        pooled = F.avg_pool2d(F.relu(self.bn1(third), inplace=True), size).flatten(1)
        return self.fc(pooled), [first, second, third]

    def fold_batch_norms(self) -> None:
        for module in self.modules():
            if isinstance(module, _BasicBlock) and isinstance(module.bn2, nn.BatchNorm2d):
                module.conv1 = fuse_conv_bn_eval(module.conv1, module.bn2)
                module.bn2 = nn.Identity()

    def our_key(self, key: str) -> str:
        """Return this network's name of a weight: the authors call the shortcut ``convShortcut``."""
        return key.replace(".convShortcut.", ".shortcut.")


class _Group(nn.Module):
    """Group of basic blocks of one width; the first block may halve the resolution."""

    def __init__(self, blocks: int, in_width: int, out_width: int, *, stride: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            _BasicBlock(in_width, out_width, stride=stride),
            *(_BasicBlock(out_width, out_width, stride=1) for _ in range(blocks - 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.layer(features)
        return result


class _BasicBlock(nn.Module):
    """Basic block: BN-ReLU-conv twice. If the width changes, shortcut and main path both start from ReLU(BN(x))."""

    def __init__(self, in_width: int, out_width: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, out_width, 3, stride=stride, padding=1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(out_width)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(in_width, out_width, 1, stride=stride, bias=False) if in_width != out_width else None

    def forward(self, features: Tensor) -> Tensor:
        # In place where nothing else needs the tensor: the same bits, but less memory.
        activated = F.relu(self.bn1(features), inplace=True)
        main: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated)), inplace=True))
        return main.add_(features if self.shortcut is None else self.shortcut(activated))
