"""Loss term for images that differ from each other and from the images of earlier calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config.base import derive_seed
from trainables.seeding import seeded
from trainables.training.data_free.terms.base import Look, Term, TermSetup
from trainables.training.protocol import load_optimizer

TEMPERATURE = 0.1
"""Divisor of the cosine similarities (Fang et al. 2021, section 4.1)."""

_WIDTH = 256
"""Width of the head's output."""

_BANK = 4096
"""Number of earlier images whose features are kept."""

_SMALLEST_CROP = 0.25
"""Smallest share of an image's area in a close-up."""


class Contrastive(Term):
    """Contrastive loss, by which each image's close-up must be most similar to that image (Fang et al. 2021, equation 6).

    The cross-entropy of recognising the image, from a random close-up, among all images of the call and of earlier calls.
    The similarity is the cosine between outputs of a small head, divided by a temperature of 0.1. The head has two layers,
    takes the inputs of the teacher's last linear layer as features, and is trained beside the source by Adam at
    ``generator_lr``.

    Differences from the authors' code: their features are means of the inputs of all BatchNorm layers; their bank holds
    40,960 features instead of 4,096, and takes those of a call's best update instead of its last one; here the mean is taken
    over the current call's images only. The head's operations are not counted: they are negligible beside a WideResNet, but
    as many as all others together beside a LeNet.
    """

    needs_features = True
    further_looks = 1

    def __init__(self, setup: TermSetup) -> None:
        super().__init__(setup)
        self._head: nn.Sequential | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._bank = torch.empty(0, 0, device=setup.device, dtype=setup.dtype)
        self._features: Tensor | None = None

    def __call__(self, look: Look) -> Tensor:
        assert look.teacher_features is not None
        wide = look.teacher_features.to(self.setup.dtype)
        close = self.setup.teacher.features_of(self._close_up(look.images)).to(self.setup.dtype)
        head = self._made(wide.shape[1])
        self._features = wide.detach()
        others = torch.cat([self._features, self._bank]) if len(self._bank) else self._features
        rows, columns = (F.normalize(head(features)) for features in (close, others))
        similar = rows @ columns.T / TEMPERATURE
        return F.cross_entropy(similar, torch.arange(len(rows), device=similar.device))

    def updated(self) -> None:
        if self._optimizer is not None:
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)

    def call_ended(self) -> None:
        assert self._features is not None
        self._bank = torch.cat([self._bank, self._features])[-_BANK:] if len(self._bank) else self._features

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"bank": self._bank}
        if self._head is not None and self._optimizer is not None:
            state |= {"head": self._head.state_dict(), "optimizer": self._optimizer.state_dict()["state"]}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._bank = state["bank"].to(self.setup.device)
        if "head" in state:
            head = self._made(state["head"]["0.weight"].shape[1])
            head.load_state_dict(state["head"])
            assert self._optimizer is not None
            load_optimizer(self._optimizer, state["optimizer"])

    def _made(self, width: int) -> nn.Sequential:
        """Return the head, which is built at the first call, when the width of the teacher's features is known."""
        if self._head is None:
            setup = self.setup
            seed = setup.config.seed if setup.config.generator_seed is None else setup.config.generator_seed
            with seeded(derive_seed(seed, "contrastive head"), "weights"):
                head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _WIDTH))
            self._head = head.to(setup.device, setup.dtype)
            self._optimizer = torch.optim.Adam(self._head.parameters(), lr=setup.config.generator_lr)
        return self._head

    def _close_up(self, images: Tensor) -> Tensor:
        """Return a random part of each image (a quarter to all of the area), enlarged to the image's size, half mirrored."""
        draws = torch.rand(4, len(images), generator=self.setup.stream, dtype=torch.float64).to(images)
        side = (_SMALLEST_CROP + (1 - _SMALLEST_CROP) * draws[0]).sqrt()
        shift = (2 * draws[1:3] - 1) * (1 - side)
        mirror = torch.where(draws[3] < 0.5, -1.0, 1.0).to(images)
        zero = torch.zeros_like(side)
        to_source = torch.stack(
            [torch.stack([side * mirror, zero, shift[0]], 1), torch.stack([zero, side, shift[1]], 1)], 1
        )
        grid = F.affine_grid(to_source, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
