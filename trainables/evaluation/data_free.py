"""Scores of a student on images that were made from its teacher alone, the same for all students of that teacher.

The divergence that training minimises cannot rank students, since each is measured on images of its own generator, which
are found where that student is weak. Here all look at one set, and what is asked is whether they decide as the teacher
does. ``docs/data-free-selection.md`` has what each score is worth.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from trainables.evaluation.class_entropy import class_balance
from trainables.networks import Network

ProbeKind = Literal["confident", "mixed", "noisy", "noise", "path"]
"""``confident``: images that the teacher is sure of, each class as often; ``mixed``: two of them blended; ``noisy``: with
noise on them; ``noise``: smooth noise alone; ``path``: on the way from confident images to another class of the teacher."""

PROBE_KINDS: tuple[ProbeKind, ...] = get_args(ProbeKind)

PROBE_IMAGES = 400
"""Of each kind. Three kinds make the score, so that a step of it is 1/1,200."""

SCORED_KINDS: tuple[ProbeKind, ...] = ("confident", "mixed", "noisy")
"""Those that ``data_free_score`` is the mean agreement over."""

_ASKED_KINDS: tuple[ProbeKind, ...] = (*SCORED_KINDS, "noise")

_BATCH_SIZE = 64
"""The same on every device, since the distance of a batch's statistics depends on it, and scores are compared."""

_TOP = 3

Score = dict[str, int | float | bool | None]


@dataclass(frozen=True, kw_only=True)
class ProbeSet:
    """Images made from one teacher alone, normalised as it expects. Plain tensors, so that it travels between processes."""

    images: Mapping[ProbeKind, Tensor]
    """Of each kind float16 (count, channels, 32, 32)."""

    targets: Tensor
    """Class that each image of the kind ``path`` is on the way to: int64 (count,)."""


class DataFreeScorer:
    """Scores students on one probe set. What the teacher makes of it is computed once."""

    def __init__(self, probe: ProbeSet, teacher: Network) -> None:
        """Ask the teacher.

        Args:
            probe: Made from this teacher.
            teacher: In eval mode; where it is, and in its precision, students are scored.
        """
        parameter = next(teacher.parameters())
        self._counts = [len(probe.images[kind]) for kind in PROBE_KINDS]
        self._images = torch.cat([probe.images[kind] for kind in PROBE_KINDS]).to(parameter.device, parameter.dtype)
        self._targets = probe.targets.to(parameter.device)
        self._teacher = self._log_probabilities(teacher)

    def score(self, student: Network) -> Score:
        """Every data-free metric of ``trainables.metrics``. Leaves no trace in the student."""
        # A copy, so that neither its mode nor what watches its layers needs putting back.
        copied = copy.deepcopy(student).eval()
        with BatchNormDistance(copied) as distance:
            log_probabilities = self._log_probabilities(copied)
        agreements = {kind: _agreement(log_probabilities[kind], self._teacher[kind]) for kind in _ASKED_KINDS}
        ours = torch.cat([self._teacher[kind] for kind in SCORED_KINDS])
        theirs = torch.cat([log_probabilities[kind] for kind in SCORED_KINDS])
        agreement = statistics.fmean(agreements[kind] for kind in SCORED_KINDS)
        return {
            "data_free_score": agreement,
            **{f"{kind}_agreement": value for kind, value in agreements.items()},
            "probe_divergence": _number((ours.exp() * (ours - theirs)).sum(1).mean()),
            "probe_overlap": _overlap(ours, theirs),
            "probe_calibration_error": abs(_number(theirs.exp().amax(1).mean()) - agreement),
            "probe_class_entropy": self._balance(log_probabilities["confident"]),
            "probe_transition_error": self._transition_error(log_probabilities["path"]),
            "probe_statistics_distance": distance.mean(),
        }

    def _log_probabilities(self, network: Network) -> dict[ProbeKind, Tensor]:
        """Of each kind (count, classes)."""
        with torch.no_grad():
            logits = torch.cat([network(batch)[0] for batch in self._images.split(_BATCH_SIZE)])
        return dict(zip(PROBE_KINDS, logits.log_softmax(1).split(self._counts), strict=True))

    def _balance(self, log_probabilities: Tensor) -> float:
        classes = log_probabilities.shape[1]
        return class_balance(log_probabilities.argmax(1).bincount(minlength=classes))

    def _transition_error(self, log_probabilities: Tensor) -> float:
        """Mean gap of the probabilities of the class that the path leads to."""
        wanted = self._targets.unsqueeze(1)
        gaps = log_probabilities.gather(1, wanted).exp() - self._teacher["path"].gather(1, wanted).exp()
        return _number(gaps.abs().mean())


class BatchNormDistance:
    """Within the block, watches how far the batches that a network sees lie from its BatchNorms' running statistics.

    The distance of a layer is the mean over channels of the squared differences of the means and of the standard
    deviations, both over the running standard deviation. It has a gradient where the batches have one.
    """

    def __init__(self, network: nn.Module) -> None:
        self._layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        self._found: list[Tensor] = []

    def __enter__(self) -> BatchNormDistance:
        self._hooks = [layer.register_forward_pre_hook(self._look) for layer in self._layers]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def take(self) -> Tensor | None:
        """Mean over layers and batches since it was last taken, a scalar; none of a network without BatchNorm."""
        found, self._found = self._found, []
        return torch.stack(found).mean() if found else None

    def mean(self) -> float | None:
        """The same as a number."""
        found = self.take()
        return None if found is None else _number(found)

    def _look(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        # Under the roots too, for a gradient of the root of 0 is infinite.
        spread = (layer.running_var + layer.eps).sqrt()
        of_means = (mean - layer.running_mean) / spread
        of_spreads = (variance + layer.eps).sqrt() / spread - 1
        self._found.append((of_means.square() + of_spreads.square()).mean())


def _agreement(one: Tensor, other: Tensor) -> float:
    """Share of rows whose largest entries are in the same place."""
    return _number((one.argmax(1) == other.argmax(1)).double().mean())


def _overlap(one: Tensor, other: Tensor) -> float:
    """Mean share of the three largest entries of a row that both have among them."""
    top = min(_TOP, one.shape[1])
    first, second = (rows.topk(top).indices for rows in (one, other))
    return _number((first.unsqueeze(2) == second.unsqueeze(1)).sum((1, 2)).double().mean() / top)


def _number(value: Tensor) -> float:
    return float(value.item())
