"""Source of images whose pixels are learnt directly, without a generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.training.data_free.sources.base import Source, SourceSetup
from trainables.training.protocol import load_optimizer, set_rate


class Pixels(Source):
    """Pixels that are drawn anew in each call and learnt by an Adam of their own (Yin et al. 2020).

    Images start as standard normal numbers in the teacher's normalised pixel space. After each step the pixels, without the
    normalisation, are clipped to [0, 1].
    """

    has_latents = False
    passes_of_update = 0
    passes_of_images = 0

    def __init__(self, setup: SourceSetup) -> None:
        super().__init__(setup)
        spec = setup.config.spec
        self._start(torch.zeros(1, *spec.image_shape, dtype=setup.dtype, device=setup.device))

    def begin(self, wanted: Tensor) -> None:
        self._start(self.draw(len(wanted), *self.setup.config.spec.image_shape))

    def images(self) -> Tensor:
        return self._learnt.clone()  # later updates must not change images that are kept

    def update(self, rate: float) -> Tensor:
        set_rate(self._optimizer, rate)
        norm = self.clipped([self._learnt])
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        viewer = self.setup.viewer
        with torch.no_grad():
            self._learnt.copy_(viewer.normalised(viewer.pixels(self._learnt).clamp(0, 1)))
        return norm

    def updated_images(self) -> Tensor:
        return self._learnt.detach().clone()

    def shown(self, count: int, stream: torch.Generator) -> Tensor:
        return self.updated_images()[:count]

    def trained(self) -> list[nn.Module]:
        return [nn.ParameterList([nn.Parameter(self._learnt.detach())])]

    def state_dict(self) -> dict[str, Any]:
        return {"pixels": self._learnt.detach(), "optimizer": self._optimizer.state_dict()["state"]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._start(state["pixels"].to(self.setup.device))
        load_optimizer(self._optimizer, state["optimizer"])

    def _start(self, pixels: Tensor) -> None:
        self._learnt = pixels.detach().clone().requires_grad_()
        self._optimizer = self.adam([self._learnt], self.setup.config.generator_lr)
