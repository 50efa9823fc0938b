"""Extra terms of the generator's loss, from the paper's first supplement, where all of them are said to hurt.

The supplement names the terms; that each is added with the sign given in ``ZeroShotConfig`` is this project's choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import ZeroShotConfig
from trainables.losses import beliefs, divergence, entropy, mean_distance
from trainables.networks import Network
from trainables.seeding import stream

_NOISE = 0.1
"""Standard deviation, in normalised pixels, of the noise that a consistent teacher should overlook."""


class ExtraTerms:
    """Those terms of a config that are switched on, each times its factor."""

    def __init__(self, config: ZeroShotConfig, teacher: Network) -> None:
        self._config = config
        self._teacher = teacher
        # On the CPU like the latents: the same on every device.
        self._noise_stream = stream(config.seed, "noise")
        self._features: Tensor | None = None
        if config.diversity_weight:
            last = [module for module in teacher.modules() if isinstance(module, nn.Linear)][-1]
            last.register_forward_pre_hook(self._keep_features)

    def __call__(self, images: Tensor, student_logits: Tensor, teacher_logits: Tensor) -> Iterator[Tensor]:
        """The terms on images that the teacher has just looked at; a scalar each, to be added to the loss."""
        config = self._config
        if config.teacher_entropy_weight:
            yield config.teacher_entropy_weight * entropy(teacher_logits)
        if config.student_entropy_weight:
            yield config.student_entropy_weight * entropy(student_logits)
        if config.diversity_weight:
            assert self._features is not None
            yield -config.diversity_weight * mean_distance(self._features)
        if config.consistency_weight:
            disturbed_logits, _ = self._teacher(self._disturbed(images))
            disturbed, clean = (beliefs(logits, "forward_kl", 1.0) for logits in (disturbed_logits, teacher_logits))
            yield config.consistency_weight * divergence("forward_kl", disturbed, clean, "batchmean")

    def state_dict(self) -> dict[str, Any]:
        """The random state."""
        return {"noise_stream": self._noise_stream.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._noise_stream.set_state(state["noise_stream"])

    def _disturbed(self, images: Tensor) -> Tensor:
        if self._config.consistency_disturbance == "noise":
            noise = torch.randn(images.shape, generator=self._noise_stream, dtype=images.dtype)
            return images + _NOISE * noise.to(images.device)
        line = images.new_tensor([0.25, 0.5, 0.25])
        channels = images.shape[1]
        kernel = torch.outer(line, line).expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)

    def _keep_features(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        self._features = inputs[0]
