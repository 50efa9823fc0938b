"""Real networks, data and trainings that take milliseconds."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import boto3
import pytest
import torch

from tests.support.servers import tell
from trainables.config import TrialConfig, ZeroShotConfig
from trainables.config.datasets import find_normalisation, find_spec
from trainables.evaluation import ProbeSet, accuracy
from trainables.evaluation.data_free import PROBE_KINDS
from trainables.images.splits import DatasetSplits, ImageSet
from trainables.metrics import METRICS
from trainables.networks import build_network
from trainables.seeding import seeded
from trainables.teachers.teacher import Teacher, TeacherMetadata
from trainables.training.distiller import ZeroShotDistiller
from trainables.trial import TrialInputs


def make_images(count: int, *, channels: int = 1, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    return ImageSet(
        images=torch.randint(256, (count, channels, 32, 32), generator=generator, dtype=torch.uint8),
        labels=torch.arange(count) % 10,
    )


def make_teacher(name: str = "lenet", *, dataset: str = "digits", seed: int = 7) -> Teacher:
    """An untrained teacher: the loop does not care how good it is."""
    spec = find_spec(dataset)
    with seeded(seed, "test teacher"):
        network = build_network(name, num_classes=spec.num_classes, channels=spec.channels)
    metadata = TeacherMetadata(
        dataset=dataset,
        network=name,
        normalisation=dataset,
        source="test",
        sha256="0" * 64,
        validation_accuracy=0.9,
        test_accuracy=0.9,
        recipe={},
    )
    return Teacher(metadata=metadata, weights={key: value.clone() for key, value in network.state_dict().items()})


def tiny_settings(**changes: Any) -> dict[str, Any]:
    """Settings of a trial of a few milliseconds."""
    return {
        "dataset": "digits",
        "teacher": "lenet",
        "student": "lenet",
        "batch_size": 4,
        "latent_dim": 5,
        "generator_width": 4,
        "generator_steps": 1,
        "student_steps": 2,
        "total_pseudo_batches": 4,
        "evaluation_interval": 2,
        **changes,
    }


def trained_metrics(method: str) -> set[str]:
    """Metrics in every report of a training of this method; the others are measured once, by whoever ends the trial."""
    return {metric.name for metric in METRICS if metric.is_reported_by([method]) and not metric.at_end}


def make_splits(dataset: str = "digits", *, train: int = 0, measured: int = 20) -> DatasetSplits:
    """Random images with labels in turn."""
    spec = find_spec(dataset)
    return DatasetSplits(
        spec=spec,
        train=make_images(train, channels=spec.channels, seed=2),
        validation=make_images(measured, channels=spec.channels),
        test=make_images(measured, channels=spec.channels, seed=1),
    )


def make_probe_set(dataset: str = "digits", *, images: int = 8) -> ProbeSet:
    """Noise in place of images that were made from a teacher."""
    shape = (images, find_spec(dataset).channels, 32, 32)
    generator = torch.Generator().manual_seed(3)
    return ProbeSet(
        images={kind: torch.randn(shape, generator=generator).half() for kind in PROBE_KINDS},
        targets=torch.arange(images) % find_spec(dataset).num_classes,
    )


def make_inputs(*configs: TrialConfig) -> TrialInputs:
    """What the trials of these configs share, with training images enough for a few steps."""
    splits = {config.splits_key: make_splits(config.dataset, train=40) for config in configs}
    teachers = {}
    for config in configs:
        if config.teacher and config.teacher_key:
            teacher = make_teacher(config.teacher, dataset=config.dataset)
            measured = accuracy(teacher.build(), splits[config.splits_key].test, find_normalisation(config.dataset))
            metadata = replace(teacher.metadata, test_accuracy=measured)
            teachers[config.teacher_key] = replace(teacher, metadata=metadata)
    probes = {config.teacher_key: make_probe_set(config.dataset) for config in configs if config.teacher_key}
    return TrialInputs(splits=splits, teachers=teachers, probes=probes)


def make_distiller(
    *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", **changes: Any
) -> ZeroShotDistiller:
    probe = changes.pop("probe", make_probe_set(changes.get("dataset", "digits")))
    config = ZeroShotConfig.model_validate(tiny_settings(**changes))
    return ZeroShotDistiller(
        config,
        teacher=make_teacher(config.teacher, dataset=config.dataset),
        splits=make_splits(config.dataset),
        probe=probe,
        device=device,
        dtype=dtype,
    )


def make_bucket(url: str) -> str:
    """A new bucket at a server; its address."""
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=name)
    return f"s3://{name}?{query_of(url)}"


def query_of(url: str) -> str:
    """What an address says of a server."""
    scheme, _, host = url.partition("://")
    return f"scheme={scheme}&endpoint_override={host}"


def make_google_bucket(url: str) -> str:
    """A new bucket there; its address."""
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    tell(url, f"buckets/{name}")
    return f"gs://{name}"


PLACES = ["local", "moto", "google", pytest.param("ceph", marks=[pytest.mark.s3, pytest.mark.timeout(120)])]
"""Where everything must work alike."""
