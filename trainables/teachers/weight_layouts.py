"""Find a network's weights among the tensors of a file, by names and shapes.

Training programs nest a state dict in others (``model``, ``model_state_dict``, ...), and DataParallel, ``torch.compile`` and
Lightning add prefixes to its names. The program that wrote the file need not be known: tensors are the weights if, after
removal of some prefix, their names and shapes are the network's.
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
"""Name of BatchNorm's counter of batches. It may be missing: torch before 0.4.1 had none, and only training may read it."""

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts that torch's wrappers add to the names of weights, also in the middle of a name."""

_AVERAGES = {"ema", "swa", "averaged", "shadow"}
"""Words that mark the keys of running averages of weights."""

_SHOWN = 3
"""Maximum number of names of each kind in an error message."""


@dataclass(frozen=True, kw_only=True)
class FoundWeights:
    """Weights that fit a network, with a description of their layout in the file."""

    weights: Mapping[str, torch.Tensor]
    """Complete weights by the network's own names, in the file's number formats."""

    layout: str
    """Description such as ``weights under model.module., converted from float16``; empty for a bare state dict."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """Tensors of a file with one common prefix, compared with a network."""

    prefix: str
    wrapped: bool
    """Whether wrappers' parts in the middle of names were removed too."""

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

    If both weights and their running average (``ema``, ``swa``) fit, the weights are taken, and ``layout`` says so.

    Args:
        file: Contents of the file.
        network: Network whose names and shapes the tensors must have.
        shown: Beginning of error messages.
        subject: Description of the weights for error messages, such as ``teacher=lenet on digits``.

    Raises:
        TeacherError: no set fits (the message has the first names that are missing or too many), or several different sets
            fit.
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
            f"{others[0].place}: save the right ones in a file of their own"
        )
    averages = [candidate for candidate in distinct if candidate.is_average and candidate is not chosen]
    return FoundWeights(
        weights={**{key: value for key, value in expected.items() if key.endswith(_COUNTER)}, **chosen.weights},
        layout=_layout(chosen, averages, expected),
    )


def _nearness(candidate: _Candidate) -> tuple[int, ...]:
    """Return a sort key for candidates that do not fit: the largest describes the best one to show in an error message.

    Candidates with at least half of the names are ranked by names and shapes that match, the others by number of tensors.
    """
    surplus, length = len(candidate.too_many), len(candidate.prefix)
    if len(candidate.weights) < len(candidate.missing):
        return 0, 0, surplus + len(candidate.weights), not candidate.wrapped, length
    return len(candidate.weights), candidate.matching, -surplus, not candidate.wrapped, -length


def _candidates(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], network: Network
) -> list[_Candidate]:
    """Return a candidate for each prefix in a file, and a second one for prefixes whose names have wrappers' parts."""
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
    """Return whether two sets of weights have the same names and numbers."""
    return some.keys() == others.keys() and all(
        value is others[name] or torch.equal(value, others[name]) for name, value in some.items()
    )


def _layout(chosen: _Candidate, averages: list[_Candidate], expected: Mapping[str, torch.Tensor]) -> str:
    """Return a description of where in the file the weights were, and of how they are converted."""
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
    """Return a description of how a file's tensors differ from a network's, with the first names of each kind."""

    def counted(names: list[str], what: str) -> str:
        first = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        return f"{len(names)} {'tensor' if len(names) == 1 else 'tensors'} {what} ({first})"

    start = network.our_key("")  # prefix of this network's names that published names do not have
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
