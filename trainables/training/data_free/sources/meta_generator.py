"""Source with a generator that meta-learns initial weights, from which a copy is trained in each call."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.networks.generator import Generator
from trainables.training.data_free.sources.base import Source, SourceSetup, generated, make_generator
from trainables.training.data_free.sources.generator import shown_by
from trainables.training.protocol import load_optimizer


class MetaGenerator(Source):
    """Generator that provides the initial weights of a copy, which is trained in one call and then discarded.

    The copy and, with ``latent_lr``, the latents take all updates of a call, by an Adam that is new in each call. At the
    last update the standing generator takes one step of Adam at ``meta_lr`` along the sum of the copy's gradients
    (first-order meta-learning; Fang et al. 2022, algorithm 1). As in the authors' code, this step comes before the copy's
    last step, which makes no difference to either.
    """

    def __init__(self, setup: SourceSetup) -> None:
        super().__init__(setup)
        config = setup.config
        self.generator: Generator = make_generator(setup)
        self._meta_optimizer = self.adam(self.generator.parameters(), config.meta_lr)
        self._begun = False
        self._updates = 0
        self._start(torch.empty(0, config.latent_dim, dtype=setup.dtype), torch.empty(0, dtype=torch.int64))

    def begin(self, wanted: Tensor) -> None:
        self._meta_optimizer.zero_grad(set_to_none=True)
        self._start(self.draw(len(wanted), self.setup.config.latent_dim), wanted)
        self._begun = True

    def images(self) -> Tensor:
        return generated(self.setup, self._copy, self._latents, self._wanted)

    def update(self, rate: float) -> Tensor:
        config = self.setup.config
        weights, *latents = self._optimizer.param_groups
        weights["lr"] = rate
        for group in latents:
            assert config.latent_lr is not None
            group["lr"] = config.latent_lr * rate / config.generator_lr
        norm = self.clipped(self._copy.parameters())
        for standing, copied in zip(self.generator.parameters(), self._copy.parameters(), strict=True):
            gradient = copied.grad
            if gradient is not None:
                standing.grad = gradient.clone() if standing.grad is None else standing.grad + gradient
        self._updates += 1
        if self._updates == config.generator_steps:
            self._meta_optimizer.step()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def updated_images(self) -> Tensor:
        with torch.no_grad():
            return self.images()

    def end(self) -> None:
        self._begun = False

    def further_images(self, wanted: Tensor, count: int) -> Tensor:
        with torch.no_grad():
            return generated(self.setup, self._copy, self.draw(count, self.setup.config.latent_dim), wanted)

    def shown(self, count: int, stream: torch.Generator) -> Tensor:
        return shown_by(self.setup, self.generator, count, stream)

    def trained(self) -> list[nn.Module]:
        return [self.generator]

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "generator": self.generator.state_dict(),
            "optimizer": self._meta_optimizer.state_dict()["state"],
            "begun": self._begun,
        }
        if self._begun:
            gradients = [weight.grad for weight in self.generator.parameters()]
            state |= {
                "updates": self._updates,
                "latents": self._latents,
                "wanted": self._wanted,
                "copy": self._copy.state_dict(),
                "copy_optimizer": self._optimizer.state_dict()["state"],
                "gradients": {number: value for number, value in enumerate(gradients) if value is not None},
            }
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device = self.setup.device
        self.generator.load_state_dict(state["generator"])
        load_optimizer(self._meta_optimizer, state["optimizer"])
        self._begun = state["begun"]
        if not self._begun:
            return
        self._start(state["latents"].to(device), state["wanted"].to(device))
        self._updates = state["updates"]
        self._copy.load_state_dict(state["copy"])
        load_optimizer(self._optimizer, state["copy_optimizer"])
        for number, weight in enumerate(self.generator.parameters()):
            kept = state["gradients"].get(number)
            weight.grad = None if kept is None else torch.empty_like(weight).copy_(kept)

    def _start(self, latents: Tensor, wanted: Tensor) -> None:
        """Make the copy, the latents and their optimizer."""
        config = self.setup.config
        self._updates = 0
        self._wanted = wanted
        self._copy: Generator = copy.deepcopy(self.generator)
        self._copy.zero_grad(set_to_none=True)
        self._latents = latents.detach().clone().requires_grad_(config.latent_lr is not None)
        groups: list[dict[str, Any]] = [{"params": list(self._copy.parameters())}]
        if config.latent_lr is not None:
            groups.append({"params": [self._latents], "lr": config.latent_lr})
        self._optimizer = self.adam(groups, config.generator_lr)
