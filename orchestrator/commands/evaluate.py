"""The work of ``zskt evaluate``: measurements on networks from files or from the storage."""

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
    """Return the name of a data set and its images, without a validation part.

    Args:
        dataset: Name of the data set, or the address of its Parquet file or of the user's own images.
        data_root: Folder of torchvision's data sets.
        image_size: Size to which images are resized, such as ``28`` or ``48x40``. Defaults to the data set's.
        normalisation: Normalisation of the networks; required for the user's own images. Defaults to the data set's.

    Raises:
        ConfigError: no such data set, or no normalisation for the user's own images.
        DataUnavailableError: the images cannot be read.
    """
    given = {"dataset": dataset, "image_size": image_size, "normalisation": normalisation, "validation_fraction": 0}
    if unread_images(given) and normalisation is None:
        raise ConfigError(
            f"--dataset {dataset}: images of your own need --normalisation, the one with which the networks were trained"
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
    """Load a network in eval mode from ``NETWORK=FILE`` or ``SWEEP/TRIAL``.

    Args:
        reference: ``NETWORK=FILE``, where FILE is a path or an address, or ``SWEEP/TRIAL``.
        dataset: Name of the data set that the network classifies.
        storage: Storage of the sweep.
        splits: Images of that data set.
        say: Prints a line on how a file holds the weights.
        normalisation: Normalisation of the network's input. Defaults to the data set's.
        trusted_code: See ``take_code``.

    Raises:
        ConfigError: the reference has neither form, the student is of other images, or a file of the user's own is not the
            one that the sweep ran.
        TeacherError: the file does not hold the network's weights.
        StudentError: the student cannot be read.
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
    """Load only those of the user's own files that the student of ``SWEEP/TRIAL`` needs; see ``take_code``."""
    sweep_id, _, trial_id = reference.partition("/")
    needed = {field: config.get(field) for field in ("student", "dataset", "normalisation")}
    take_code(
        SweepStore(find_storage(storage), sweep_id), files_in(needed), trusted_code=trusted_code, trial_id=trial_id
    )


def _check_same_images(reference: str, config: Mapping[str, object], splits: DatasetSplits) -> None:
    """Refuse a student of other images of the user's own under the same name, which is that of their folder."""
    here = {"num_classes": splits.spec.num_classes, "channels": splits.spec.channels, "dataset_sha256": splits.sha256}
    for field, value in here.items():
        of_student = config.get(field)
        if of_student is not None and value is not None and of_student != value:
            raise ConfigError(
                f"{reference} is a student of other images, which are also called {config['dataset']}, with "
                f"{field}={of_student} and not {value}: measure it on the images with which its sweep began"
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
    """Return the mean transition error of two networks and an HTML page with their transition curves.

    Raises:
        ConfigError: a number is out of range, or the networks agree on no image.
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
    """Return an HTML page with the mean transition curves of those trials of a sweep that have some.

    Raises:
        SweepNotFoundError: no trial has curves.
    """
    results = SweepResults(SweepStore(find_storage(storage), sweep_id))
    there = results.trials_with_curves()  # includes trials without a row, since curves are written before the row
    ended = [trial for trial in results.trials() if trial.trial_id in there]
    tables = {trial.label: results.transition_curves(trial.trial_id) for trial in ended}
    curves = {label: mean_curves(TransitionCurves.from_table(table)) for label, table in tables.items()}
    if not curves:
        raise SweepNotFoundError(
            f"no trial of {sweep_id} in this storage has transition curves; set transition_images=1000"
        )
    return _page(curves, ended[-1].config.dataset)


def noise_counts(network: Network, normalisation: str, shapes: Shapes, images: int) -> list[int]:
    """Return for each class the number of images of uniform noise that the network assigns to it."""
    counts = noise_predictions(network, find_normalisation(normalisation), **shapes, images=images)
    return [int(count) for count in counts]


@dataclass(frozen=True, kw_only=True)
class SeenImages:
    """A student's predictions on pseudo images of its generator."""

    pseudo_batches: int
    confidence: float
    class_counts: list[int]


def pseudo_images(storage: StorageConfig, trial: str, output: Path, trusted_code: Collection[str] = ()) -> SeenImages:
    """Draw pseudo images from the newest checkpoint of ``SWEEP/TRIAL``, and return the student's predictions on them.

    Generator and student are in eval mode. The latents have a random stream of their own.

    Args:
        storage: Storage of the sweep.
        trial: The trial, running or ended.
        output: File of the picture.
        trusted_code: See ``take_code``.

    Raises:
        ConfigError: no such trial, no zero-shot trial, or a file of the user's own is not the one that the sweep ran.
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
