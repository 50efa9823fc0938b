"""What a file of weights is as a teacher, and the sweep that one would begin with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import torch
import yaml
from torch import nn

from orchestrator.commands.plan_page import hours_in_words, plan_sentences
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.costs.estimate import make_plan
from orchestrator.costs.pricing import find_pricing
from orchestrator.errors import ConfigError
from orchestrator.inputs.files import fetch_weights
from trainables.compute.work import network_work
from trainables.config.datasets import (
    IMAGE_SIZE,
    Shapes,
    find_normalisation,
    image_size_in_words,
    normalisation_names,
    parse_image_size,
)
from trainables.errors import NetworkError
from trainables.evaluation import accuracy, calibration_error, right_images
from trainables.images.splits import DatasetSplits
from trainables.networks import Network, build_network
from trainables.networks.activations import activation_sizes
from trainables.seeding import seeded
from trainables.teachers.normalisations import PROBE_IMAGES, normalisation_probe, noticeably_better
from trainables.teachers.recognition import recognise, shapes_of
from trainables.teachers.teacher import PLAUSIBLE_ACCURACY, not_finite
from trainables.teachers.weight_files import read_weight_file
from trainables.teachers.weight_layouts import find_weights

_STUDENTS = {"lenet": "lenet", "resnet": "resnet-18"}
_STUDENT = "wrn-16-1"
"""Students that a block proposes: of the teacher's family, so that attention has something to compare."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well a normalisation fits a teacher."""

    name: str
    accuracy: float
    """On the test images of the probe, in [0, 1]."""

    close: bool
    """Whether the best one is not noticeably better."""


@dataclass(frozen=True, kw_only=True)
class TeacherFacts:
    """All that is known of a teacher's file."""

    file: str
    network: str
    layout: str
    """How the file holds the weights; empty for a bare state dict."""

    shapes: Shapes
    any_size: bool
    """Whether the weights fit images of any size."""

    parameters: int
    batch_norms: int
    """Layers with running statistics."""

    not_finite: str
    """Which weights are NaN or infinite; empty if none is."""

    flops: float
    """Operations for one image, forward."""

    attention: tuple[tuple[int, int], ...]
    """Heights and widths of the activations that attention transfer can compare."""

    watched: tuple[str, ...]
    """Modules whose outputs they are; empty of a network that returns them itself."""

    fits: tuple[Fit, ...] = ()
    """Normalisations, the best first; empty without images."""

    test_accuracy: float | None = None
    calibration_error: float | None = None
    """Expected, over 15 intervals of confidence, in [0, 1]."""

    normalisation: str | None = None
    """The one that is taken: what was asked for, else the data set's own unless another is noticeably better."""

    @property
    def plausible(self) -> float:
        """Accuracy from which a network is taken for a teacher."""
        chance = 1 / self.shapes["num_classes"]
        return chance + PLAUSIBLE_ACCURACY * (1 - chance)


def inspect_teacher(
    address: str,
    *,
    network: str | None,
    num_classes: int | None,
    image_size: str | None,
    images: DatasetSplits | None,
    normalisation: str | None,
) -> TeacherFacts:
    """Look at a file of weights.

    Args:
        address: Path or address of the file.
        network: Name of its architecture; None: one of this project's, found by the weights.
        num_classes: Classes of the network; None: by the weights, or the images.
        image_size: Height and width of its images; None: by the weights or the images, or 32x32.
        images: Labelled images for it; None: there are none.
        normalisation: What it expects of them; None: that is found out.

    Raises:
        ConfigError: no network of this project fits and none is named.
        TeacherError: the file holds no weights, or they are not the network's.
        NetworkError: the network cannot be built.
    """
    path, shown = fetch_weights(address)
    file = read_weight_file(path, shown)
    recognised = recognise(file) if network is None else None
    if network is None and recognised is None:
        classes, channels = shapes_of(file.tensors)
        names = ", ".join(list(file.tensors)[:3])
        raise ConfigError(
            f"{shown}: no network of this project has these {len(file.tensors)} tensors ({names}, ...; {classes} classes "
            f"and {channels} channels, it seems): name the network with --network, such as torchvision:resnet18 or "
            "my_nets.py:make_teacher"
        )
    shapes = _shapes(recognised.shapes if recognised else None, file.tensors, images, num_classes, image_size, shown)
    name = network or (recognised.name if recognised else "")
    with seeded(0, "only looked at"):
        built = build_network(name, **shapes)
    found = find_weights(file, built, shown=shown, subject=name)
    built.load_state_dict(found.weights)
    facts = TeacherFacts(
        file=address,
        network=name,
        layout=found.layout,
        shapes=shapes,
        any_size=_takes_another_size(name, shapes),
        parameters=sum(weight.numel() for weight in built.parameters()),
        batch_norms=sum(isinstance(module, nn.BatchNorm2d) for module in built.modules()),
        not_finite=not_finite(built.state_dict()),
        flops=network_work(name, **shapes).flops,
        attention=tuple(activation_sizes(built, (shapes["channels"], *shapes["image_size"]))),
        watched=built.watched,
        normalisation=normalisation,
    )
    return facts if images is None or facts.not_finite else _measured(facts, built, images)


def in_words(facts: TeacherFacts) -> list[tuple[str, str]]:
    """Return what is known as pairs of a heading and a sentence."""
    shapes, sizes = facts.shapes, ", ".join(map(image_size_in_words, facts.attention))
    size = image_size_in_words(shapes["image_size"])
    known = (
        f"{size}; its weights fit any size, so say image_size if it was trained at another" if facts.any_size else size
    )
    watched = f"{', '.join(facts.watched)}: " if facts.watched else ""
    lines = [
        ("file", f"{facts.file}{f' ({facts.layout})' if facts.layout else ''}"),
        ("network", f"{facts.network}, {facts.parameters:,} parameters, {facts.flops / 1e6:,.1f} MFLOP an image"),
        ("classes, channels", f"{shapes['num_classes']}, {shapes['channels']}"),
        ("image size", known),
        ("weights", facts.not_finite or "all finite"),
        (
            "BatchNorm",
            f"{facts.batch_norms} layers with running statistics"
            if facts.batch_norms
            else "none, so that data-free scores know nothing of its images' statistics",
        ),
        ("attention", f"{watched}{sizes or 'no activations'}"),
    ]
    if facts.test_accuracy is not None:
        lines.append(
            ("test accuracy", f"{facts.test_accuracy:.2%}, calibration error {facts.calibration_error:.3f} (15 bins)")
        )
    if facts.fits:
        lines.append(("normalisation", _fits_in_words(facts)))
    return lines


def _fits_in_words(facts: TeacherFacts) -> str:
    shown = ", ".join(f"{fit.name} {fit.accuracy:.1%}" for fit in facts.fits[:4])
    if facts.fits[0].accuracy < facts.plausible:
        return (
            f"none fits: {shown}, where at least {facts.plausible:.0%} is expected. Is it the right network? Are the "
            "classes numbered in the same order? Or say its own with --normalisation MEAN:STD"
        )
    taken = f"; taken: {facts.normalisation}"
    close = sum(fit.close for fit in facts.fits)
    doubt = f", though {close} of them fit about as well" if close > 1 else ""
    return f"{shown} of {PROBE_IMAGES} test images at most{taken}{doubt}"


def sweep_of(facts: TeacherFacts, *, dataset: str | None) -> dict[str, Any]:
    """Return the fields of a sweep that searches with this teacher: step ratio and temperature, published otherwise."""
    shapes = facts.shapes
    student = next((name for start, name in _STUDENTS.items() if facts.network.startswith(start)), _STUDENT)
    trial: dict[str, Any] = {"dataset": dataset or "none"}
    if dataset is None:
        trial |= {"num_classes": shapes["num_classes"], "channels": shapes["channels"]}
    if dataset is None or shapes["image_size"] != IMAGE_SIZE:
        trial["image_size"] = image_size_in_words(shapes["image_size"])
    if facts.normalisation is not None:
        trial["normalisation"] = facts.normalisation
    trial |= {
        "teacher": facts.network,
        "teacher_checkpoint": facts.file,
        "student": student,
        "total_pseudo_batches": 2000,
    }
    if not _compares_attention(facts, student):
        trial["attention_weight"] = 0
    return {
        "name": "my-teacher",
        "trial": trial,
        "space": {
            "student_steps": {"type": "int", "low": 5, "high": 20},
            "temperature": {"type": "float", "low": 0.5, "high": 8.0, "log": True},
        },
        "num_trials": 12,
        "scheduler": {"name": "asha"},
        "objective": "data_free_score" if dataset is None else "validation_accuracy",
    }


def as_yaml(facts: TeacherFacts, fields: Mapping[str, Any]) -> str:
    """Return the sweep as a commented file."""
    notes = {
        "image_size": "  # the weights fit any: that at which it was trained" if facts.any_size else "",
        "student": "  # what is trained; see docs/sweeps.md for the networks there are",
        "total_pseudo_batches": "  # published: 80000; zskt plan says what it costs",
        "attention_weight": "  # the two networks have no activations of one size",
        "objective": "  # found without images"
        if fields["objective"] == "data_free_score"
        else "  # on images set aside from training",
    }
    lines = ["# A sweep with this teacher: zskt sweep FILE runs it, zskt plan FILE says what it costs."]
    for line in yaml.safe_dump(dict(fields), sort_keys=False).splitlines():
        field = line.strip().partition(":")[0]
        if field == "teacher" and facts.normalisation is None:
            lines.append("  # normalisation: half  # must be said: what the teacher was trained with")
        lines.append(line + notes.get(field, ""))
    return "\n".join(lines) + "\n"


def cost_in_words(text: str) -> str:
    """Return what a sweep given as YAML would cost here.

    Raises:
        ConfigError: it is no sweep.
    """
    with TemporaryDirectory(prefix="zskt-") as folder:
        file = Path(folder) / "sweep.yaml"
        file.write_text(text, encoding="utf-8")
        sweep: SweepConfig = load_sweep(str(file))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = make_plan(sweep, pricing=find_pricing(sweep, None))
    hours = "" if plan.hours is None else f"{hours_in_words(plan.hours)} hours in all;"
    return f"{hours} {plan_sentences(plan)[0]}".strip()


def _shapes(
    known: Shapes | None,
    tensors: Mapping[str, torch.Tensor],
    images: DatasetSplits | None,
    num_classes: int | None,
    image_size: str | None,
    shown: str,
) -> Shapes:
    """Classes, channels and size: as they are said, else of the weights, else of the images."""
    classes, channels = shapes_of(tensors)
    classes = (
        num_classes or (known["num_classes"] if known else None) or (images and images.spec.num_classes) or classes
    )
    channels = images.spec.channels if images is not None else channels
    if not classes or not channels:
        raise ConfigError(f"{shown}: its classes are not known by its weights: say --classes")
    size = IMAGE_SIZE if known is None else known["image_size"]
    if images is not None:
        size = images.spec.image_size
    return Shapes(
        num_classes=classes, channels=channels, image_size=parse_image_size(image_size) if image_size else size
    )


def _takes_another_size(name: str, shapes: Shapes) -> bool:
    """Whether the same weights fit images of twice the size."""
    height, width = shapes["image_size"]
    other = Shapes(num_classes=shapes["num_classes"], channels=shapes["channels"], image_size=(2 * height, 2 * width))
    try:
        with seeded(0, "only looked at"):
            one, two = (build_network(name, **size).state_dict() for size in (shapes, other))
    except NetworkError:
        return False
    return {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in two.items()}


def _measured(facts: TeacherFacts, network: Network, images: DatasetSplits) -> TeacherFacts:
    """The same with what labelled images tell."""
    test = images.test
    probe = normalisation_probe(images)
    channels = facts.shapes["channels"]
    named = [name for name in normalisation_names() if len(find_normalisation(name).mean) in {1, channels}]
    own = [name for name in named if find_normalisation(name) == images.spec.normalisation]
    asked = [] if facts.normalisation is None else [facts.normalisation]
    distinct = {find_normalisation(name): name for name in [*reversed(named), *reversed(own), *asked]}
    right = {name: right_images(network, probe, kind) for kind, name in distinct.items()}
    best = max(right.values(), key=lambda images: int(images.sum()))
    fits = sorted(
        (
            Fit(name=name, accuracy=int(correct.sum()) / len(probe), close=not noticeably_better(best, correct))
            for name, correct in right.items()
        ),
        key=lambda fit: -fit.accuracy,
    )
    # Of those that fit about as well as the best one, the data set's own: it is the likelier one.
    good = [fit.name for fit in fits if fit.close and fit.accuracy >= facts.plausible]
    taken = facts.normalisation or next((name for name in own if name in good), next(iter(good), None))
    if taken is None:
        return replace(facts, fits=tuple(fits))
    kind = find_normalisation(taken)
    return replace(
        facts,
        fits=tuple(fits),
        normalisation=taken,
        test_accuracy=accuracy(network, test, kind),
        calibration_error=calibration_error(network, test, kind),
    )


def _compares_attention(facts: TeacherFacts, student: str) -> bool:
    """Whether teacher and student have activations of one size."""
    with seeded(0, "only looked at"):
        network = build_network(student, **facts.shapes)
    ours = activation_sizes(network, (facts.shapes["channels"], *facts.shapes["image_size"]))
    return bool(set(ours) & set(facts.attention) - {(1, 1)})
