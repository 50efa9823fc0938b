"""Data-free scores of a student, on a probe set that is made from its teacher alone.

The divergence that training minimises cannot rank students: each student's divergence is measured on images of its own
generator, which makes images on which that student is weak. Data-free scores use one probe set for all students of a teacher
and measure whether student and teacher predict the same. ``docs/data-free-selection.md`` tells how well each score ranks.
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
"""Kind of probe images. ``confident``: images that the teacher classifies with confidence, equally many of each class;
``mixed``: blends of two confident images; ``noisy``: confident images with added noise; ``noise``: smooth noise only;
``path``: images on the way from a confident image to another class of the teacher."""

PROBE_KINDS: tuple[ProbeKind, ...] = get_args(ProbeKind)

PROBE_IMAGES = 400
"""Number of probe images of each kind. The score is the mean over three kinds, so its resolution is 1/1,200."""

SCORED_KINDS: tuple[ProbeKind, ...] = ("confident", "mixed", "noisy")
"""Kinds over which ``data_free_score`` is the mean agreement."""

_ASKED_KINDS: tuple[ProbeKind, ...] = (*SCORED_KINDS, "noise")

_BATCH_SIZE = 64
"""Images per forward pass; equal on every device, since the statistics distance depends on it and scores are compared."""

_TOP = 3

Score = dict[str, int | float | bool | None]


@dataclass(frozen=True, kw_only=True)
class ProbeSet:
    """Probe set: images made from one teacher alone, normalised as that teacher expects.

    Plain tensors, so that a probe set can be sent between processes.
    """

    images: Mapping[ProbeKind, Tensor]
    """Images of each kind, float16 (count, channels, height, width)."""

    targets: Tensor
    """Class towards which each image of the kind ``path`` was moved, int64 (count,)."""


class DataFreeScorer:
    """Scores students on one probe set. The teacher's outputs are computed once."""

    def __init__(self, probe: ProbeSet, teacher: Network) -> None:
        """Compute the teacher's outputs on the probe set.

        Args:
            probe: Probe set made from this teacher.
            teacher: Teacher in eval mode. Students are scored on the teacher's device and in its precision.
        """
        parameter = next(teacher.parameters())
        self._counts = [len(probe.images[kind]) for kind in PROBE_KINDS]
        self._images = torch.cat([probe.images[kind] for kind in PROBE_KINDS]).to(parameter.device, parameter.dtype)
        self._targets = probe.targets.to(parameter.device)
        self._teacher = self._log_probabilities(teacher)

    def score(self, student: Network) -> Score:
        """Return all data-free metrics of ``trainables.metrics``; the student stays unchanged."""
        # A copy, so that neither the student's mode nor its hooks need to be restored.
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
        """Return a network's log-probabilities on the images of each kind, (count, classes)."""
        with torch.no_grad():
            logits = torch.cat([network(batch)[0] for batch in self._images.split(_BATCH_SIZE)])
        return dict(zip(PROBE_KINDS, logits.log_softmax(1).split(self._counts), strict=True))

    def _balance(self, log_probabilities: Tensor) -> float:
        classes = log_probabilities.shape[1]
        return class_balance(log_probabilities.argmax(1).bincount(minlength=classes))

    def _transition_error(self, log_probabilities: Tensor) -> float:
        """Return the mean absolute difference between student and teacher in the probability of the path's target class."""
        wanted = self._targets.unsqueeze(1)
        gaps = log_probabilities.gather(1, wanted).exp() - self._teacher["path"].gather(1, wanted).exp()
        return _number(gaps.abs().mean())


class BatchNormDistance:
    """Context manager that measures how far batches are from the running statistics of a network's BatchNorm layers.

    The distance of a layer is the mean over channels of the squared differences of the means and of the standard deviations,
    both divided by the running standard deviation. Distances have gradients if the batches have.
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
        """Return the mean over layers and batches since the last call, a scalar; None for a network without BatchNorm."""
        found, self._found = self._found, []
        return torch.stack(found).mean() if found else None

    def mean(self) -> float | None:
        """Return the result of ``take`` as a Python number."""
        found = self.take()
        return None if found is None else _number(found)

    def _look(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        # eps is under both roots, since the gradient of a root at 0 is infinite.
        spread = (layer.running_var + layer.eps).sqrt()
        of_means = (mean - layer.running_mean) / spread
        of_spreads = (variance + layer.eps).sqrt() / spread - 1
        self._found.append((of_means.square() + of_spreads.square()).mean())


def _agreement(one: Tensor, other: Tensor) -> float:
    """Return the share of rows whose largest entries are in the same column."""
    return _number((one.argmax(1) == other.argmax(1)).double().mean())


def _overlap(one: Tensor, other: Tensor) -> float:
    """Return the share of a row's three largest entries that are in the same columns in both, mean over the rows."""
    top = min(_TOP, one.shape[1])
    first, second = (rows.topk(top).indices for rows in (one, other))
    return _number((first.unsqueeze(2) == second.unsqueeze(1)).sum((1, 2)).double().mean() / top)


def _number(value: Tensor) -> float:
    return float(value.item())
