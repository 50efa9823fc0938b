"""Transition curves and the mean transition error, which compare the decision boundaries of two networks (section 4).

An image is pushed to another class, its target, down the gradient of one network, and at each step the target's
probability is recorded under both networks. The published code pushes one image to one target at a time; here many are
pushed in a batch. In eval mode the images of a batch do not influence each other, and the cross-entropy is summed over the
batch, so that each image has its own gradient.
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
"""Curves per batch: 72 are 8 images with 9 targets each. On a CPU, with one or two threads, 54 to 108 are equally fast
within the noise, 36 and 144 slower by a tenth (``benchmarks/speed/transition_curves.py``). A GPU is fastest with many."""


@dataclass(frozen=True, kw_only=True)
class TransitionError:
    """Mean transition error in [0, 1] with a 95 % interval over images. The bounds are nan for a single image."""

    mean: float
    low: float
    high: float
    images: int


@dataclass(frozen=True, kw_only=True)
class MeanCurves:
    """Mean probability of the target at each step with its standard error over images, each float64 (steps,)."""

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
    """Push images to all other classes by gradient steps on ``attacked``, and record the transition curves.

    Each step is ``x <- x - step_size * dCE(attacked(x), target)/dx`` on normalised pixels, which are not clipped. Copies
    of both networks run in eval mode; the networks themselves stay unchanged.

    Args:
        attacked: Network whose gradient moves the images; the student, as published.
        other: Network whose probabilities are only recorded; the teacher, as published. On the device of ``attacked``.
        data: Images to choose from, on any device; as published, the test split.
        normalisation: Normalisation that both networks expect.
        images: Number of images: the first ones, in a random order, for which both networks predict the same class,
            whether right or wrong. All of them if there are fewer.
        steps: Recorded points, including the clean image. The published code records 200 and uses the first 100.
        step_size: Factor of the gradient; 1 as published.
        targets: Rule for the class that is left out; see ``TargetRule``.
        seed: Seed of the order of the images.
        batch_size: Curves per batch, which changes time and memory, but results by rounding only. Defaults to a size that
            suits the device.

    Raises:
        ValueError: an argument is out of range, the networks differ in classes or device, or agree on no image.
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
    # Without images ``split`` gives one empty part.
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
    """Return the mean of |attacked - other| over images, targets and the first ``points`` recorded points (section 4).

    The curves of one image share its pixels, so they are not independent observations. The interval is therefore Student's
    t over the means of the images. It covers the choice of images, not of students.

    Args:
        curves: Transition curves from ``transition_curves``.
        points: Number of points; 100 as published. Errors over different numbers of points cannot be compared.

    Raises:
        ValueError: ``points`` is below 1 or above the number of recorded points.
    """
    from scipy import stats  # takes a second to import, and every trial imports this package

    if not 1 <= points <= curves.steps:
        raise ValueError(f"points={points}; allowed: 1 to {curves.steps}, the recorded ones")
    gaps = (curves.attacked[..., :points].double() - curves.other[..., :points].double()).abs()
    mean, error = _over_images(gaps.mean((1, 2)))
    margin = float(stats.t.ppf(0.975, len(gaps) - 1)) * error.item() if len(gaps) > 1 else math.nan
    return TransitionError(mean=mean.item(), low=mean.item() - margin, high=mean.item() + margin, images=len(gaps))


def mean_curves(curves: TransitionCurves) -> MeanCurves:
    """Average transition curves over images and targets at each step.

    Standard errors are over images, each with its mean over targets. The published band divides by the root of the number
    of curves instead, as if the curves of one image were independent.
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
    """Return the indices of the first images on which both agree, the predictions, and the number of classes.

    Indices and predictions are int64 (n,) on the CPU.
    """
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
    """Push images and return the probabilities of ``targets`` (batch,) in both networks: float32 (batch, 2, steps), CPU."""
    recorded = torch.empty(steps, 2, len(targets), dtype=torch.float32, device=images.device)
    for step in range(steps - 1):
        recorded[step, 1] = _probabilities(_logits(other, images), targets)
        recorded[step, 0], gradient = _probabilities_and_gradient(attacked, images, targets)
        images = images - step_size * gradient
    # No step after the last recorded point.
    recorded[-1, 0] = _probabilities(_logits(attacked, images), targets)
    recorded[-1, 1] = _probabilities(_logits(other, images), targets)
    return recorded.permute(2, 1, 0).cpu()


def _probabilities_and_gradient(network: Network, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probabilities of the targets, and the gradient of each image's cross-entropy, shaped as the images."""
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
    """Return the probability of each target, (batch,), from logits (batch, classes)."""
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
    """Return the mean over the first dimension and its standard error, nan for a single image."""
    count = len(values)
    error = values.std(0) / math.sqrt(count) if count > 1 else torch.full_like(values[0], math.nan)
    return values.mean(0), error
