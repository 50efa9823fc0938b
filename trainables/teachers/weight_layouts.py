"""Find a network's weights among the tensors of a file, by names and shapes.

Training codes wrap a state dict in others (``model``, ``model_state_dict``, ...), and its names get prefixes by
DataParallel, ``torch.compile`` and Lightning. Which of these it was need not be known: wherever a file's names, behind any
prefix, are the network's and the shapes are too, there the weights are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from trainables.errors import TeacherError
from trainables.networks import Network
from trainables.teachers.weight_files import WeightFile, why_no_tensors

_COUNTER = "num_batches_tracked"
"""Batches that a BatchNorm has seen: torch before 0.4.1 had none, and only a network in training may read it."""

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Attributes that wrappers by torch add to the names of weights, within a network too."""

_AVERAGES = {"ema", "swa", "averaged", "shadow"}
"""Words in the keys of running averages of weights."""

_SHOWN = 3
"""Names of each kind that an error shows."""


@dataclass(frozen=True, kw_only=True)
class FoundWeights:
    """Weights that fit a network, and how a file held them."""

    weights: Mapping[str, torch.Tensor]
    """By the network's own names; complete, in the file's formats."""

    layout: str
    """In words, such as ``weights under model.module., converted from float16``; empty for a bare state dict."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """Tensors of a file behind one prefix, held against a network."""

    prefix: str
    wrapped: bool
    """Whether the names of wrappers were left out within the names too."""

    weights: Mapping[str, torch.Tensor]
    missing: list[str] = field(default_factory=list)
    too_many: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        return not (self.missing or self.too_many or self.misshapen)

    @property
    def matching(self) -> int:
        return len(self.weights) - len(self.misshapen)

    @property
    def is_average(self) -> bool:
        return not _AVERAGES.isdisjoint(re.split("[^a-z]+", self.prefix.lower()))

    @property
    def place(self) -> str:
        return f"under {self.prefix}" if self.prefix else "at the top"


def find_weights(file: WeightFile, network: Network, *, shown: str, subject: str) -> FoundWeights:
    """Find the one set of tensors in a file that fits a network.

    Of weights and their running average (``ema``, ``swa``) the weights are taken, and that is said.

    Args:
        file: The file's tensors.
        network: Network whose names and shapes decide.
        shown: What errors begin with.
        subject: What the weights should be, for errors, such as ``teacher=lenet on digits``.

    Raises:
        TeacherError: none fits, with the first names that are missing or too many, or several differing ones fit.
    """
    expected = network.state_dict()
    candidates = _candidates(file.tensors, expected, network)
    best = max(candidates, key=_nearness, default=None)
    if best is None or (not best.weights and file.pickled):
        raise TeacherError(f"{shown} {why_no_tensors(file)}")
    fitting = [candidate for candidate in candidates if candidate.fits]
    if not fitting:
        raise TeacherError(f"{shown} does not fit {subject}: {_difference(best, expected, network)}")
    distinct: list[_Candidate] = []
    for candidate in sorted(fitting, key=lambda c: (c.wrapped, c.is_average, len(c.prefix))):
        if not any(_equal(candidate.weights, other.weights) for other in distinct):
            distinct.append(candidate)
    chosen, *others = [candidate for candidate in distinct if not candidate.is_average] or distinct
    if others:
        raise TeacherError(
            f"{shown} holds several sets of weights that fit {subject}, {chosen.place} and "
            f"{others[0].place}: save those that you mean in a file of their own"
        )
    averages = [candidate for candidate in distinct if candidate.is_average and candidate is not chosen]
    return FoundWeights(
        weights={**{key: value for key, value in expected.items() if key.endswith(_COUNTER)}, **chosen.weights},
        layout=_layout(chosen, averages, expected),
    )


def _nearness(candidate: _Candidate) -> tuple[int, ...]:
    """Rank candidates that do not fit, to show one: where half the names are right the best of these, else the largest."""
    surplus, length = len(candidate.too_many), len(candidate.prefix)
    if len(candidate.weights) < len(candidate.missing):
        return 0, 0, surplus + len(candidate.weights), not candidate.wrapped, length
    return len(candidate.weights), candidate.matching, -surplus, not candidate.wrapped, -length


def _candidates(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], network: Network
) -> list[_Candidate]:
    """Hold the tensors behind each prefix in a file against a network."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        parts = key.split(".")
        for depth in range(len(parts)):
            prefix = "".join(f"{part}." for part in parts[:depth])
            groups.setdefault(prefix, {})[".".join(parts[depth:])] = tensor
    candidates = []
    for prefix, group in groups.items():
        candidates.append(_candidate(prefix, group, expected, network, wrapped=False))
        if any(not _WRAPPERS.isdisjoint(key.split(".")) for key in group):
            candidates.append(_candidate(prefix, group, expected, network, wrapped=True))
    return candidates


def _candidate(
    prefix: str,
    group: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    network: Network,
    *,
    wrapped: bool,
) -> _Candidate:
    weights, too_many, misshapen = {}, [], []
    for key, tensor in group.items():
        bare = ".".join(part for part in key.split(".") if part not in _WRAPPERS) if wrapped else key
        name = network.our_key(bare)
        counter = name.endswith(_COUNTER)
        if name not in expected or name in weights:
            if not counter:
                too_many.append(key)
            continue
        same_kind = tensor.is_floating_point() or not expected[name].is_floating_point()
        if tensor.shape == expected[name].shape and same_kind:
            weights[name] = tensor
        elif not counter:
            weights[name] = tensor
            misshapen.append(name)
    missing = [name for name in expected if name not in weights and not name.endswith(_COUNTER)]
    return _Candidate(
        prefix=prefix, wrapped=wrapped, weights=weights, missing=missing, too_many=too_many, misshapen=misshapen
    )


def _equal(some: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same numbers."""
    return some.keys() == others.keys() and all(
        value is others[name] or torch.equal(value, others[name]) for name, value in some.items()
    )


def _layout(chosen: _Candidate, averages: list[_Candidate], expected: Mapping[str, torch.Tensor]) -> str:
    """Say where the weights were and what is done to them."""
    formats = {
        str(value.dtype).removeprefix("torch.")
        for name, value in chosen.weights.items()
        if value.is_floating_point() and value.dtype != expected[name].dtype
    }
    said = {
        f"weights {chosen.place}": bool(chosen.prefix or averages or chosen.wrapped),
        f"running averages {' and '.join(a.place for a in averages)} left out": bool(averages),
        "names of wrappers (module, _orig_mod) left out of the names": chosen.wrapped,
        f"converted from {' and '.join(sorted(formats))}": bool(formats),
    }
    return ", ".join(what for what, holds in said.items() if holds)


def _difference(candidate: _Candidate, expected: Mapping[str, torch.Tensor], network: Network) -> str:
    """Say how the tensors of a file differ from a network's, with the first of each kind."""

    def counted(names: list[str], what: str) -> str:
        first = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        return f"{len(names)} {'tensor' if len(names) == 1 else 'tensors'} {what} ({first})"

    start = network.our_key("")  # a name here that others' names have not
    shapes = [
        f"{name.removeprefix(start)}: {_form(candidate.weights[name])}, expected {_form(expected[name])}"
        for name in candidate.misshapen
    ]
    kinds = {
        "missing": [name.removeprefix(start) for name in candidate.missing],
        "too many": candidate.too_many,
        "of another shape or kind": shapes,
    }
    differences = ", ".join(counted(names, what) for what, names in kinds.items() if names)
    return f"{candidate.place} are {differences}" if candidate.prefix else differences


def _form(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
