"""Inspection of a file of weights as a teacher, and a sweep with this teacher."""

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
"""Students that ``sweep_of`` proposes: of the teacher's family if possible, so that attention transfer applies."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well a normalisation fits a teacher."""

    name: str
    accuracy: float
    """Accuracy of the teacher on the test images of the probe, in [0, 1]."""

    close: bool
    """Whether the best normalisation is not noticeably better than this one."""


@dataclass(frozen=True, kw_only=True)
class TeacherFacts:
    """The facts about a teacher's file."""

    file: str
    network: str
    layout: str
    """How the file holds the weights; empty for a bare state dict."""

    shapes: Shapes
    any_size: bool
    """Whether the weights fit images of any size."""

    parameters: int
    batch_norms: int
    """Number of BatchNorm layers, which have running statistics."""

    not_finite: str
    """Description of weights that are NaN or infinite; empty if there are none."""

    flops: float
    """FLOPs of the forward pass for one image."""

    attention: tuple[tuple[int, int], ...]
    """Heights and widths of the activations that attention transfer can compare."""

    watched: tuple[str, ...]
    """Modules whose outputs are these activations; empty for a network that returns its activations itself."""

    fits: tuple[Fit, ...] = ()
    """Fits of all normalisations, the best first; empty without images."""

    test_accuracy: float | None = None
    calibration_error: float | None = None
    """Expected calibration error over 15 bins of confidence, in [0, 1]."""

    normalisation: str | None = None
    """Chosen normalisation: the one that was asked for, else the data set's own unless another is noticeably better. None if
    neither was given nor found."""

    @property
    def plausible(self) -> float:
        """Least accuracy at which a network is accepted as a teacher."""
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
    """Inspect a file of weights.

    Args:
        address: Path or address of the file.
        network: Name of the architecture. None means that of this project's networks which the weights fit.
        num_classes: Number of classes. None means that of the weights, else that of the images.
        image_size: Height and width of the images. Defaults to those of the images, else of the weights, else 32x32.
        images: Labelled images. None means that nothing is measured.
        normalisation: Normalisation of the network's input. None means that it is found by the images.

    Raises:
        ConfigError: no network is named, and none of this project's fits.
        TeacherError: the file holds no weights, or weights of another network.
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
    """Return the facts about a teacher's file as pairs of a heading and a text."""
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
            else "none, so that data-free scores have no statistics of its training images",
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
            "classes numbered in the same order? Or give its own with --normalisation MEAN:STD"
        )
    taken = f"; taken: {facts.normalisation}"
    close = sum(fit.close for fit in facts.fits)
    doubt = f", though {close} of them fit about as well" if close > 1 else ""
    return f"{shown} of {PROBE_IMAGES} test images at most{taken}{doubt}"


def sweep_of(facts: TeacherFacts, *, dataset: str | None) -> dict[str, Any]:
    """Return the fields of a sweep that searches student steps and temperature with this teacher.

    All other settings have their published values, except for a smaller budget.
    """
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
    """Return the fields of a sweep as a commented YAML file."""
    notes = {
        "image_size": "  # the weights fit any size: set the size of the teacher's training images"
        if facts.any_size
        else "",
        "student": "  # network to train; docs/sweeps.md lists the networks",
        "total_pseudo_batches": "  # published: 80000; zskt plan estimates the cost",
        "attention_weight": "  # the two networks have no activations of equal size",
        "objective": "  # measured without real images"
        if fields["objective"] == "data_free_score"
        else "  # measured on images set aside from training",
    }
    lines = ["# A sweep with this teacher: zskt sweep FILE runs it, zskt plan FILE estimates its cost."]
    for line in yaml.safe_dump(dict(fields), sort_keys=False).splitlines():
        field = line.strip().partition(":")[0]
        if field == "teacher" and facts.normalisation is None:
            lines.append("  # normalisation: half  # required: the normalisation with which the teacher was trained")
        lines.append(line + notes.get(field, ""))
    return "\n".join(lines) + "\n"


def cost_in_words(text: str) -> str:
    """Return the cost of a sweep in YAML on this machine, in words.

    Raises:
        ConfigError: the text is no valid sweep.
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
    """Return the number of classes, the channels and the image size.

    Classes are those given, else of the recognised network, else of the images, else of the tensors. Channels are those of
    the images, else of the tensors. The size is the one given, else of the images, else of the recognised network, else
    32 x 32.

    Raises:
        ConfigError: the number of classes or channels is not known.
    """
    classes, channels = shapes_of(tensors)
    classes = (
        num_classes or (known["num_classes"] if known else None) or (images and images.spec.num_classes) or classes
    )
    channels = images.spec.channels if images is not None else channels
    if not classes or not channels:
        raise ConfigError(f"{shown}: the weights do not tell the number of classes: give it with --classes")
    size = IMAGE_SIZE if known is None else known["image_size"]
    if images is not None:
        size = images.spec.image_size
    return Shapes(
        num_classes=classes, channels=channels, image_size=parse_image_size(image_size) if image_size else size
    )


def _takes_another_size(name: str, shapes: Shapes) -> bool:
    """Return whether the weights of a network also fit images of twice the size."""
    height, width = shapes["image_size"]
    other = Shapes(num_classes=shapes["num_classes"], channels=shapes["channels"], image_size=(2 * height, 2 * width))
    try:
        with seeded(0, "only looked at"):
            one, two = (build_network(name, **size).state_dict() for size in (shapes, other))
    except NetworkError:
        return False
    return {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in two.items()}


def _measured(facts: TeacherFacts, network: Network, images: DatasetSplits) -> TeacherFacts:
    """Return the facts with the fits of all normalisations, and accuracy and calibration error with the best fit."""
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
    # Among normalisations that fit about as well as the best, the data set's own is the likeliest.
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
    """Return whether teacher and student have activations of equal size, other than 1 x 1."""
    with seeded(0, "only looked at"):
        network = build_network(student, **facts.shapes)
    ours = activation_sizes(network, (facts.shapes["channels"], *facts.shapes["image_size"]))
    return bool(set(ours) & set(facts.attention) - {(1, 1)})
