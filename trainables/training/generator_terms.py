"""Extra terms of the generator's loss, from the paper's first supplement, where all of them are said to hurt.

The supplement names the terms; that each is added with the sign given in ``ZeroShotConfig`` is this project's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import ZeroShotConfig
from trainables.networks import Network
from trainables.training.losses import FORWARD_KL, entropy, mean_distance

_NOISE = 0.1
"""Standard deviation, in normalised pixels, of the noise that a consistent teacher should overlook."""


class GeneratorTerms:
    """Those terms of a config that are switched on, each times its factor."""

    def __init__(
        self,
        config: ZeroShotConfig,
        teacher: Network,
        look: Callable[[Network, Tensor], tuple[Tensor, list[Tensor]]],
        noise_stream: torch.Generator,
    ) -> None:
        """Make ready what a config switches on.

        Args:
            config: The trial's settings.
            teacher: Whose opinion the terms are about.
            look: How the trial looks at images through a network, in its precision.
            noise_stream: Where the noise comes from; on the CPU like the latents, so the same on every device.
        """
        self._config = config
        self._teacher = teacher
        self._forward = look
        self._noise_stream = noise_stream
        self._features: Tensor | None = None
        line = torch.tensor([0.25, 0.5, 0.25])
        # Made here, since making it in the loop would wait for a GPU.
        self._blur = torch.outer(line, line).to(next(teacher.parameters()))
        if config.diversity_weight:
            last = [module for module in teacher.modules() if isinstance(module, nn.Linear)][-1]
            last.register_forward_pre_hook(self._keep_features)

    def draw(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
        """The noise that one call of ``terms`` will add to images, if it does: made on the CPU."""
        if not self._config.consistency_weight or self._config.consistency_disturbance != "noise":
            return None
        return torch.randn(shape, generator=self._noise_stream, dtype=dtype)

    def terms(
        self, images: Tensor, student_logits: Tensor, teacher_logits: Tensor, noise: Tensor | None
    ) -> list[Tensor]:
        """The terms on images that the teacher has just looked at; a scalar each, to be added to the loss."""
        config = self._config
        found = []
        if config.teacher_entropy_weight:
            found.append(config.teacher_entropy_weight * entropy(teacher_logits))
        if config.student_entropy_weight:
            found.append(config.student_entropy_weight * entropy(student_logits))
        if config.diversity_weight:
            assert self._features is not None
            found.append(-config.diversity_weight * mean_distance(self._features.to(images.dtype)))
        if config.consistency_weight:
            disturbed_logits, _ = self._forward(self._teacher, self._disturbed(images, noise))
            disturbed, clean = (FORWARD_KL.outputs(logits, 1.0) for logits in (disturbed_logits, teacher_logits))
            found.append(config.consistency_weight * FORWARD_KL(disturbed, clean, "batchmean"))
        return found

    def state_dict(self) -> dict[str, Any]:
        """The random state."""
        return {"noise_stream": self._noise_stream.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._noise_stream.set_state(state["noise_stream"])

    def _disturbed(self, images: Tensor, noise: Tensor | None) -> Tensor:
        if noise is not None:
            return images + _NOISE * noise
        channels = images.shape[1]
        kernel = self._blur.expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)

    def _keep_features(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        self._features = inputs[0]
