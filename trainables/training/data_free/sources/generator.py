"""Source with one generator that is trained throughout the trial."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.networks.generator import Generator
from trainables.training.data_free.sources.base import Source, SourceSetup, generated, make_generator
from trainables.training.protocol import load_optimizer, set_rate


class StandingGenerator(Source):
    """One generator for the whole trial (belief matching, DAFL, DFAD, DFQ).

    Each call draws new latents, which stay the same for all updates of the call.
    """

    def __init__(self, setup: SourceSetup) -> None:
        super().__init__(setup)
        self.generator: Generator = make_generator(setup)
        self._optimizer = self.adam(self.generator.parameters(), setup.config.generator_lr)
        self._latents = torch.empty(0)
        self._wanted = torch.empty(0)

    def begin(self, wanted: Tensor) -> None:
        self._wanted = wanted
        self._latents = self.draw(len(wanted), self.setup.config.latent_dim)

    def images(self) -> Tensor:
        return generated(self.setup, self.generator, self._latents, self._wanted)

    def update(self, rate: float) -> Tensor:
        set_rate(self._optimizer, rate)
        norm = self.clipped(self.generator.parameters())
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def updated_images(self) -> Tensor:
        config = self.setup.config
        # Without a pool the published loop makes these images again in each student step.
        times = config.student_steps if config.pool == "none" else 1
        with torch.no_grad(), self.generator.counted_as(times):
            return self.images()

    def further_images(self, wanted: Tensor, count: int) -> Tensor:
        with torch.no_grad():
            return generated(self.setup, self.generator, self.draw(count, self.setup.config.latent_dim), wanted)

    def shown(self, count: int, stream: torch.Generator) -> Tensor:
        return shown_by(self.setup, self.generator, count, stream)

    def trained(self) -> list[nn.Module]:
        return [self.generator]

    def state_dict(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(),
            "optimizer": self._optimizer.state_dict()["state"],
            "latents": self._latents,
            "wanted": self._wanted,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        load_optimizer(self._optimizer, state["optimizer"])
        self._latents = state["latents"].to(self.setup.device)
        self._wanted = state["wanted"].to(self.setup.device)


def shown_by(setup: SourceSetup, generator: Generator, count: int, stream: torch.Generator) -> Tensor:
    """Return a generator's images for a snapshot; the generator stays unchanged.

    Latents are drawn from the stream; the wanted classes are 0, 1, ... in turn.
    """
    config = setup.config
    latents = torch.randn(count, config.latent_dim, generator=stream, dtype=setup.dtype).to(setup.device)
    wanted = torch.arange(count, device=setup.device) % config.spec.num_classes
    # A copy, since a forward pass in train mode updates the running statistics.
    with torch.no_grad():
        return generated(setup, copy.deepcopy(generator), latents, wanted)
