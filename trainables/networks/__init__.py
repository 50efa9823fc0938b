"""Architectures of teachers and students. Each network returns ``(logits, activations)``: see ``Network``."""

from __future__ import annotations

from trainables.networks.base import Network, frozen_copy, in_eval_mode
from trainables.networks.build import build_network, check_network
from trainables.networks.lenet import LeNet
from trainables.networks.wide_resnet import WideResNet

__all__ = [
    "LeNet",
    "Network",
    "WideResNet",
    "build_network",
    "check_network",
    "frozen_copy",
    "in_eval_mode",
]
