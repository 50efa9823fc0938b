"""Loss term for images with the statistics of real images, which a teacher's BatchNorm layers have kept."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.training.data_free.terms.base import Look, Term, TermSetup


class BatchNormStatistics(Term):
    """Distance of the images' statistics from the teacher's BatchNorm running statistics (Yin et al. 2020, equation 4).

    The sum over layers of the L2 norms of the differences of means and of variances. Variances are biased, over batch and
    positions. With ``batch_norm_momentum`` m, from the second call on, the statistics compared are m times those of earlier
    calls plus (1 - m) times those of the current call (Fang et al. 2022).
    """

    watches_teacher = True

    def __init__(self, setup: TermSetup) -> None:
        super().__init__(setup)
        self._momentum = setup.config.batch_norm_momentum
        self._layers = [
            layer
            for layer in cast(list[_BatchNorm], setup.teacher.layers(_BatchNorm))
            if layer.running_mean is not None and layer.running_var is not None
        ]
        if not self._layers:
            raise ValueError(
                f"batch_norm_weight={setup.config.term_weights['batch_norm']:g}: {setup.config.teacher} has no BatchNorm "
                "layer with running statistics; allowed: 0"
            )
        self._now: dict[int, tuple[Tensor, Tensor]] = {}
        self._kept: list[tuple[Tensor, Tensor]] = []
        for number, layer in enumerate(self._layers):
            setup.teacher.watch(layer, partial(self._note, number))

    def __call__(self, look: Look) -> Tensor:
        terms = []
        for number, layer in enumerate(self._layers):
            mean, variance = self._now[number]
            if self._kept:
                old_mean, old_variance = self._kept[number]
                mean, variance = self._blend(old_mean, mean), self._blend(old_variance, variance)
            kept_mean, kept_variance = cast(Tensor, layer.running_mean), cast(Tensor, layer.running_var)
            terms += [(variance - kept_variance).norm(), (mean - kept_mean).norm()]
        return torch.stack(terms).sum()

    def call_ended(self) -> None:
        if not self._momentum:
            return
        now = [tuple(value.detach() for value in self._now[number]) for number in range(len(self._layers))]
        if self._kept:
            now = [
                tuple(self._blend(old, new) for old, new in zip(before, after, strict=True))
                for before, after in zip(self._kept, now, strict=True)
            ]
        self._kept = cast(list[tuple[Tensor, Tensor]], now)

    def state_dict(self) -> dict[str, Any]:
        kept = {str(number): {"mean": mean, "variance": variance} for number, (mean, variance) in enumerate(self._kept)}
        return {"kept": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device = self.setup.device
        kept = state["kept"]
        pairs = [kept[str(number)] for number in range(len(kept))]
        self._kept = [(pair["mean"].to(device), pair["variance"].to(device)) for pair in pairs]

    def _blend(self, old: Tensor, new: Tensor) -> Tensor:
        return self._momentum * old + (1 - self._momentum) * new

    def _note(self, number: int, given: Tensor) -> None:
        activation = given.to(self.setup.dtype)  # statistics need more precision than the 16 bits of bfloat16
        over = [axis for axis in range(activation.dim()) if axis != 1]
        self._now[number] = (activation.mean(over), activation.var(over, unbiased=False))
