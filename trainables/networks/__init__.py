"""Teachers and students. Each returns ``(logits, activations)``: see ``Network``."""

from __future__ import annotations

from trainables.networks.base import Network, in_eval_mode
from trainables.networks.build import build_network
from trainables.networks.lenet import LeNet
from trainables.networks.wide_resnet import WideResNet

__all__ = ["LeNet", "Network", "WideResNet", "build_network", "in_eval_mode"]
