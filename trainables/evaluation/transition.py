"""Transition curves and the mean transition error: do two networks change their mind along the same path? (section 4)

An image is pushed from class to class down the gradient of one network, and both are asked at each step for the
probability of the target. The published code does this for one image and one target at a time; here many are pushed at
once. In eval mode they do not see each other, and cross entropy is summed over them, so that each gradient is its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config.datasets import Normalisation
from trainables.evaluation.transition_table import TargetRule, TransitionCurves
from trainables.images.splits import ImageSet, normalise
from trainables.networks import Network, frozen_copy
from trainables.seeding import stream

_BATCH_SIZE = {"cpu": 72, "cuda": 2048}
"""Curves at once: 8 images with 9 targets each. On a CPU 54 to 108 are equally fast within the noise, on one thread and on
two, 36 and 144 slower by a tenth (``benchmarks/speed/transition_curves.py``). A GPU wants many."""


@dataclass(frozen=True, kw_only=True)
class TransitionError:
    """The mean transition error in [0, 1], with a 95 % interval over images; nan bounds for a single image."""

    mean: float
    low: float
    high: float
    images: int


@dataclass(frozen=True, kw_only=True)
class MeanCurves:
    """Mean probability of the target at each step, with its standard error over images; each float64 (steps,)."""

    attacked: Tensor
    attacked_error: Tensor
    other: Tensor
    other_error: Tensor
    images: int


def transition_curves(
    attacked: Network,
    other: Network,
    data: ImageSet,
    normalisation: Normalisation,
    *,
    images: int = 1000,
    steps: int = 100,
    step_size: float = 1.0,
    targets: TargetRule = "label",
    seed: int = 0,
    batch_size: int | None = None,
) -> TransitionCurves:
    """Push images to every other class by gradient steps on ``attacked`` and record both networks on the way.

    Each step is ``x <- x - step_size * dCE(attacked(x), target)/dx`` on normalised pixels, which are not clipped. Copies
    of both networks run, in eval mode; the networks themselves are not touched.

    Args:
        attacked: The network whose gradient moves the images; the student, as published.
        other: The network that only looks at them; the teacher, as published. On the same device.
        data: Images to choose from, as published the test split; on any device.
        normalisation: What both networks expect.
        images: The first so many, in a random order, for which both networks have the same highest logit; right or
            wrong does not matter. Where there are fewer, all of them.
        steps: Recorded points, the clean image among them. The published code records 200 and uses the first 100.
        step_size: Factor of the gradient; 1 as published.
        targets: Which class is left out; see ``TargetRule``.
        seed: Chooses the order of the images.
        batch_size: Curves at once. Changes time and memory, and the result by rounding only; none: what suits the device.

    Raises:
        ValueError: an argument out of range, networks that differ in classes or device, or no image on which they agree.
    """
    _check_arguments(images, steps, step_size, targets, batch_size)
    device, dtype = _home(attacked)
    if _home(other)[0] != device:
        raise ValueError(f"attacked network on {device}, other on {_home(other)[0]}; allowed: one device for both")
    batch_size = batch_size or _BATCH_SIZE.get(device.type, _BATCH_SIZE["cpu"])

    def load(indices: Tensor) -> Tensor:
        loaded = normalise(data.images[indices.to(data.images.device)].to(device), normalisation, dtype)
        # A CPU convolves fastest with the channels last, by a tenth to a fifth; measured for no other device.
        return loaded.contiguous(memory_format=torch.channels_last) if device.type == "cpu" else loaded

    order = torch.randperm(len(data), generator=stream(seed, "transition images"))
    attacked, other = frozen_copy(attacked), frozen_copy(other)
    # No images at all would split into one part of none.
    batches = ((indices, load(indices)) for indices in order.split(batch_size) if len(indices))
    chosen, predictions, classes = _agreeing(attacked, other, batches, images)
    labels = data.labels.cpu()[chosen]
    if int(labels.max()) >= classes:
        raise ValueError(f"label {int(labels.max())} in the data; allowed: 0 to {classes - 1}, as in the networks")
    excluded = labels if targets == "label" else predictions
    goals = (excluded.unsqueeze(1) + torch.arange(1, classes)) % classes  # (images, classes - 1)
    pairs = chosen.repeat_interleave(classes - 1)
    curves = []
    for indices, wanted in zip(pairs.split(batch_size), goals.flatten().split(batch_size), strict=True):
        curves.append(_push(attacked, other, load(indices), wanted.to(device), steps, step_size))
    recorded = torch.cat(curves).view(len(chosen), classes - 1, 2, steps)
    return TransitionCurves(
        image_indices=chosen,
        labels=labels,
        targets=goals,
        attacked=recorded[:, :, 0].contiguous(),
        other=recorded[:, :, 1].contiguous(),
        step_size=step_size,
        target_rule=targets,
        seed=seed,
    )


def mean_transition_error(curves: TransitionCurves, points: int = 100) -> TransitionError:
    """Mean of |attacked - other| over images, targets and the first ``points`` recorded points (section 4.1).

    The curves of one image share its pixels and are no independent observations. The interval is therefore Student's
    t over the images' own means, and speaks of other images, not of other students.

    Args:
        curves: What ``transition_curves`` gave.
        points: 100 as published. Errors over different numbers of points do not compare.

    Raises:
        ValueError: fewer points were recorded.
    """
    from scipy import stats  # takes a second to import, and every trial imports this package

    if not 1 <= points <= curves.steps:
        raise ValueError(f"points={points}; allowed: 1 to {curves.steps}, the recorded ones")
    gaps = (curves.attacked[..., :points].double() - curves.other[..., :points].double()).abs()
    mean, error = _over_images(gaps.mean((1, 2)))
    margin = float(stats.t.ppf(0.975, len(gaps) - 1)) * error.item() if len(gaps) > 1 else math.nan
    return TransitionError(mean=mean.item(), low=mean.item() - margin, high=mean.item() + margin, images=len(gaps))


def mean_curves(curves: TransitionCurves) -> MeanCurves:
    """Average over images and targets at each step.

    The standard errors are those over images, each with its mean over targets. The published band divides by the
    root of the number of curves as if those of one image were independent; it is not given here.
    """
    attacked, attacked_error = _over_images(curves.attacked.double().mean(1))
    other, other_error = _over_images(curves.other.double().mean(1))
    return MeanCurves(
        attacked=attacked,
        attacked_error=attacked_error,
        other=other,
        other_error=other_error,
        images=len(curves.labels),
    )


def _agreeing(
    attacked: Network, other: Network, batches: Iterable[tuple[Tensor, Tensor]], images: int
) -> tuple[Tensor, Tensor, int]:
    """Indices of the first images on which both agree, what they say, each int64 (n,), and the number of classes."""
    chosen, predictions, found, classes = [], [], 0, 0
    for indices, batch in batches:
        first, second = _logits(attacked, batch), _logits(other, batch)
        classes = first.shape[1]
        if second.shape[1] != classes or classes < 2:
            raise ValueError(f"networks of {classes} and {second.shape[1]} classes; allowed: equally many, at least 2")
        said = first.argmax(1).cpu()
        agree = said == second.argmax(1).cpu()
        chosen.append(indices[agree])
        predictions.append(said[agree])
        found += int(agree.sum())
        if found >= images:
            break
    if not found:
        raise ValueError("the networks agree on no image of the data; allowed: on at least one")
    return torch.cat(chosen)[:images], torch.cat(predictions)[:images], classes


def _push(attacked: Network, other: Network, images: Tensor, targets: Tensor, steps: int, step_size: float) -> Tensor:
    """Probabilities of ``targets`` (batch,) in both networks along the way: float32 (batch, 2, steps), on the CPU."""
    recorded = torch.empty(steps, 2, len(targets), dtype=torch.float32, device=images.device)
    for step in range(steps - 1):
        recorded[step, 1] = _probabilities(_logits(other, images), targets)
        recorded[step, 0], gradient = _probabilities_and_gradient(attacked, images, targets)
        images = images - step_size * gradient
    # Nothing looks at what a step after the last recording would give.
    recorded[-1, 0] = _probabilities(_logits(attacked, images), targets)
    recorded[-1, 1] = _probabilities(_logits(other, images), targets)
    return recorded.permute(2, 1, 0).cpu()


def _probabilities_and_gradient(network: Network, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of the targets, and each image's own gradient of its cross entropy, shaped as the images."""
    with torch.enable_grad():
        moved = images.detach().requires_grad_()
        logits, _ = network(moved)
        # A mean over the batch would divide each image's step by the batch size. Asked for the images' gradient only,
        # autograd computes none for the weights.
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, targets, reduction="sum"), moved)
    return _probabilities(logits.detach(), targets), gradient


def _logits(network: Network, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network(images.to(_home(network)[1]))[0]


def _probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    """(batch, classes) to (batch,)."""
    return logits.softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1)


def _home(network: Network) -> tuple[torch.device, torch.dtype]:
    parameter = next(network.parameters())
    return parameter.device, parameter.dtype


def _check_arguments(images: int, steps: int, step_size: float, targets: str, batch_size: int | None) -> None:
    for name, value in (("images", images), ("steps", steps), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}; allowed: at least 1")
    if not 0 < step_size < math.inf:
        raise ValueError(f"step_size={step_size}; allowed: above 0 and finite")
    if targets not in get_args(TargetRule):
        raise ValueError(f"targets={targets!r}; allowed: {', '.join(get_args(TargetRule))}")


def _over_images(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the first dimension and its standard error, nan for a single image."""
    count = len(values)
    error = values.std(0) / math.sqrt(count) if count > 1 else torch.full_like(values[0], math.nan)
    return values.mean(0), error
