"""What ``zskt evaluate`` does: measurements on networks from files or from the storage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import ValidationError
from torchvision.utils import save_image

from cluster.cpus import available_cpus
from orchestrator.config.blocks import StorageConfig
from orchestrator.config.images import describe_images
from orchestrator.config.messages import config_error
from orchestrator.errors import ConfigError, SweepNotFoundError
from orchestrator.inputs.files import fetch_dataset, load_images, published_teacher
from orchestrator.inputs.own_code import take_code
from orchestrator.report.figures.transitions import Curves, figure_html, transition_figure
from orchestrator.reproduction import published_transition_curves
from orchestrator.results import SweepResults
from orchestrator.storage import SweepStore, find_storage, layout
from trainables.compute.devices import claim_device
from trainables.config import ZeroShotConfig
from trainables.config.datasets import Shapes, find_normalisation, find_spec, image_size_in_words, parse_image_size
from trainables.config.own_images import unread_images
from trainables.config.plugins import STORED
from trainables.evaluation import (
    MeanCurves,
    TransitionCurves,
    TransitionError,
    mean_curves,
    mean_transition_error,
    noise_predictions,
    transition_curves,
)
from trainables.images.splits import DatasetSplits, ImageSet
from trainables.networks import Network, build_network
from trainables.networks.generator import Generator
from trainables.seeding import stream
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.students import StudentStore
from trainables.system.own_files import files_in

SHOWN_IMAGES = 64
COUNTED_IMAGES = 1000


def named_images(
    dataset: str, data_root: str, image_size: str | None = None, normalisation: str | None = None
) -> tuple[str, DatasetSplits]:
    """The name of a data set, which is given by that, by the address of its Parquet file, or by a folder or file of the
    user's own images, and its images, none set aside.

    Args:
        dataset: Name or address.
        data_root: Folder of data sets as torchvision keeps them.
        image_size: That images are resized to, such as ``28`` or ``48x40``; None: the data set's own.
        normalisation: What the networks expect, which images of the user's own do not tell; None: the data set's own.

    Raises:
        ConfigError: no such data set, or nothing said of the normalisation of the user's own images.
        DataUnavailableError: it is not to be had.
    """
    given = {"dataset": dataset, "image_size": image_size, "normalisation": normalisation, "validation_fraction": 0}
    if unread_images(given) and normalisation is None:
        raise ConfigError(
            f"--dataset {dataset}: images of your own need --normalisation, which the networks expect of them"
        )
    try:
        config = ZeroShotConfig.model_validate(describe_images(given, origin="--dataset", fetch=fetch_dataset))
    except ValidationError as error:
        raise config_error(error, ZeroShotConfig, "--dataset") from error
    if not config.reads_images:
        raise ConfigError(f"--dataset {dataset}: there are no images to measure on")
    return config.dataset, replace(load_images(config, data_root), sha256=config.dataset_sha256)


def load_network(
    reference: str,
    dataset: str,
    storage: StorageConfig,
    splits: DatasetSplits,
    say: Callable[[str], None] = lambda _: None,
    normalisation: str | None = None,
    *,
    trusted_code: Collection[str] = (),
) -> Network:
    """Load a network from ``NETWORK=FILE``, the file by path or address, or from ``SWEEP/TRIAL``, in eval mode.

    Args:
        reference: The one or the other.
        dataset: Name of the data set that the network classifies.
        storage: Storage of the sweep.
        splits: Images of that data set.
        say: Prints a line, on how a file held the weights.
        normalisation: What the network expects of the images; None: the data set's own.
        trusted_code: See ``take_code``.

    Raises:
        ConfigError: neither of the two, or a file of the user's own is not the one that the sweep ran.
        TeacherError, StudentError: what they say.
        StorageError, StorageRefusedError: the file's storage cannot be used.
    """
    name, separator, file = reference.partition("=")
    by = normalisation or dataset
    if separator:
        teacher = published_teacher(file, dataset=dataset, name=name, normalisation=by, splits=splits)
        if teacher.layout:
            say(f"{reference}: {teacher.layout}")
        return teacher.build().eval()
    if reference.count("/") != 1:
        raise ConfigError(f"{reference}: expected NETWORK=FILE, such as wrn-16-2=teacher.pt, or SWEEP/TRIAL")
    students = StudentStore(find_storage(storage).below(layout.STUDENTS))
    weights, config = students.load(reference), students.load_config(reference)
    _take_code(storage, reference, config, trusted_code)
    if config["dataset"] != dataset or (config["normalisation"] or dataset) != by:
        raise ConfigError(
            f"{reference} is a student on {config['dataset']} with normalisation={config['normalisation']}: it can be "
            f"measured with --dataset {config['dataset']} only, and {by} is another normalisation"
        )
    size = str(config.get("image_size") or image_size_in_words(find_spec(dataset).image_size))
    if parse_image_size(size) != splits.spec.image_size:
        raise ConfigError(f"{reference} is a student of images of {size} pixels: measure it with --image-size {size}")
    _check_same_images(reference, config, splits)
    network = build_network(str(config["student"]), **splits.spec.shapes)
    network.load_state_dict(weights)
    return network.eval()


def _take_code(
    storage: StorageConfig, reference: str, config: Mapping[str, object], trusted_code: Collection[str]
) -> None:
    """Have the files of the user's own run that a student of ``SWEEP/TRIAL`` needs, and no other: see ``take_code``."""
    sweep_id, _, trial_id = reference.partition("/")
    needed = {field: config.get(field) for field in ("student", "dataset", "normalisation")}
    take_code(
        SweepStore(find_storage(storage), sweep_id), files_in(needed), trusted_code=trusted_code, trial_id=trial_id
    )


def _check_same_images(reference: str, config: Mapping[str, object], splits: DatasetSplits) -> None:
    """Refuse a student of other images of the user's own, which have the same name if their folders have."""
    here = {"num_classes": splits.spec.num_classes, "channels": splits.spec.channels, "dataset_sha256": splits.sha256}
    for field, value in here.items():
        of_student = config.get(field)
        if of_student is not None and value is not None and of_student != value:
            raise ConfigError(
                f"{reference} is a student of other images that are called {config['dataset']} too, with "
                f"{field}={of_student} and not {value}: measure it on those that its sweep began with"
            )


def transition_page(
    student: Network,
    teacher: Network,
    dataset: str,
    test: ImageSet,
    *,
    images: int,
    steps: int,
    step_size: float,
    by_label: bool,
    normalisation: str | None = None,
) -> tuple[TransitionError, str]:
    """The mean transition error of two networks and a page with their curves.

    Raises:
        ConfigError: a number out of range, or networks that agree on no image.
    """
    device = claim_device(cpus=min(torch.get_num_threads(), available_cpus()), gpus=torch.cuda.device_count())
    try:
        measured = transition_curves(
            student.to(device),
            teacher.to(device),
            test.to(device),
            find_normalisation(normalisation or dataset),
            images=images,
            steps=steps,
            step_size=step_size,
            targets="label" if by_label else "prediction",
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    error_of_both = mean_transition_error(measured, points=min(100, steps))
    return error_of_both, _page({"these two": mean_curves(measured)}, dataset)


def kept_curves_page(storage: StorageConfig, sweep_id: str) -> str:
    """A page with the mean curves of each trial of a sweep that has some.

    Raises:
        SweepNotFoundError: none has.
    """
    results = SweepResults(SweepStore(find_storage(storage), sweep_id))
    there = results.trials_with_curves()  # of trials that have not ended too: the curves are written before the row
    ended = [trial for trial in results.trials() if trial.trial_id in there]
    tables = {trial.label: results.transition_curves(trial.trial_id) for trial in ended}
    curves = {label: mean_curves(TransitionCurves.from_table(table)) for label, table in tables.items()}
    if not curves:
        raise SweepNotFoundError(
            f"no trial of {sweep_id} in this storage has transition curves; set transition_images=1000"
        )
    return _page(curves, ended[-1].config.dataset)


def noise_counts(network: Network, normalisation: str, shapes: Shapes, images: int) -> list[int]:
    """How many images of uniform noise the network takes for each class."""
    counts = noise_predictions(network, find_normalisation(normalisation), **shapes, images=images)
    return [int(count) for count in counts]


@dataclass(frozen=True, kw_only=True)
class SeenImages:
    """What a student makes of its generator's images."""

    pseudo_batches: int
    confidence: float
    class_counts: list[int]


def pseudo_images(storage: StorageConfig, trial: str, output: Path, trusted_code: Collection[str] = ()) -> SeenImages:
    """Write a picture of pseudo images of ``SWEEP/TRIAL``, both networks in eval mode, latents of a stream of their own.

    Args:
        storage: Storage of the sweep.
        trial: The trial, running or ended.
        output: Where the picture goes.
        trusted_code: See ``take_code``.

    Raises:
        ConfigError: no such trial, or not a zero-shot one, or a file of the user's own is not the one that the sweep ran.
    """
    sweep_id, _, trial_id = trial.partition("/")
    sweep_store = SweepStore(find_storage(storage), sweep_id)
    checkpoints = CheckpointStore(sweep_store.checkpoints)
    state = checkpoints.load_newest(trial_id, warn=lambda _: None) if trial_id else None
    if state is None or "generator" not in state:
        raise ConfigError(f"{trial}: no checkpoint of a zero-shot trial by this name; expected SWEEP/TRIAL")
    _take_code(storage, trial, state["config"], trusted_code)
    config = ZeroShotConfig.model_validate(state["config"], context=STORED)
    spec = config.spec
    generator = Generator(
        latent_dim=config.latent_dim,
        width=config.generator_width,
        channels=spec.channels,
        image_size=spec.image_size,
    )
    student = build_network(config.student, **spec.shapes)
    generator.load_state_dict(state["generator"])
    student.load_state_dict(state["student"])
    latents = torch.randn(COUNTED_IMAGES, config.latent_dim, generator=stream(config.seed, "pictures"))
    with torch.no_grad():
        made = generator.eval()(latents)
        probabilities = student.eval()(made)[0].softmax(1)
    save_image(made[:SHOWN_IMAGES], output, nrow=8, normalize=True, scale_each=False)
    return SeenImages(
        pseudo_batches=state["counters"]["pseudo_batches"],
        confidence=float(probabilities.amax(1).mean()),
        class_counts=probabilities.argmax(1).bincount(minlength=spec.num_classes).tolist(),
    )


def _page(curves: dict[str, MeanCurves], dataset: str) -> str:
    shown: dict[str, Curves] = dict(curves)
    if dataset in {"cifar10", "svhn"}:
        for method in ("zero-shot", "kd-at"):
            known = published_transition_curves(dataset, method)
            columns = (known.student, known.student_se, known.teacher, known.teacher_se)
            ours = (torch.tensor(column, dtype=torch.float64) for column in columns)
            attacked, attacked_error, other, other_error = ours
            shown[f"published, {method}"] = replace(
                next(iter(curves.values())),
                attacked=attacked,
                attacked_error=attacked_error,
                other=other,
                other_error=other_error,
            )
    title = f"Transition curves on {dataset}: probability of the class that images are pushed to"
    return figure_html(transition_figure(shown, title=title, names=("student", "teacher")))
