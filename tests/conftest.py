"""Fixtures that the whole suite shares. Real loop and real backward pass on networks and batches that take milliseconds."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.servers import ACCESS_KEY, SECRET_KEY, FaultyProxy, moto_server
from tests.servers import CEPH_PROGRAMS, ceph_gateway, google_storage, tell

# Read when Ray is imported: no usage reports, the loopback address for the nodes of clusters that tests make by themselves.
# (Sessions of ours listen there anyway, which tests/cluster/test_open_doors.py shows in an environment without this.)
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
# Else trials would wait for whatever else the suite computes, at Ray's niceness of 15.
os.environ |= {"RAY_worker_niceness": "0"}

# Tests have credentials of their own; whatever the user of this machine has is out of their reach.
os.environ.update(
    AWS_ACCESS_KEY_ID=ACCESS_KEY,
    AWS_SECRET_ACCESS_KEY=SECRET_KEY,
    AWS_DEFAULT_REGION="us-east-1",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
)
os.environ.pop("AWS_SESSION_TOKEN", None)
os.environ.pop("AWS_PROFILE", None)
os.environ.pop("AWS_ENDPOINT_URL", None)
os.environ.pop("AWS_ENDPOINT_URL_S3", None)

import boto3
import torch

from cluster.local_ray import local_ray
from cluster.private_folder import private_folder
from tests.missing import CEPH, skip_without, tell_skips
from tests.temporary import private_temporary_folder
from trainables.config import TrialConfig, ZeroShotConfig
from trainables.config.datasets import find_normalisation, find_spec
from trainables.evaluation import ProbeSet, accuracy
from trainables.evaluation.data_free import PROBE_KINDS
from trainables.images.splits import DatasetSplits, ImageSet
from trainables.metrics import METRICS
from trainables.networks import build_network
from trainables.seeding import seeded
from trainables.storage.filesystems import LocalFilesystem
from trainables.storage.object_store import ObjectStore
from trainables.system import own_files
from trainables.teachers.teacher import Teacher, TeacherMetadata
from trainables.training.distiller import ZeroShotDistiller
from trainables.trial import TrialInputs

DistillerFactory = Callable[..., ZeroShotDistiller]


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests of Ray and Ceph in one process where pytest has several, as they share one session of each; and in another
    one those whose sweeps are processes of their own."""
    for item in items:
        if item.get_closest_marker("own_processes"):
            item.add_marker(pytest.mark.xdist_group("own processes"))
        elif any(item.get_closest_marker(name) for name in ("ray", "s3")):
            item.add_marker(pytest.mark.xdist_group("ray"))


def pytest_configure(config: pytest.Config) -> None:
    """Begin before any test is read: what is started from there on has temporary files of its own, in each process."""
    ours = ExitStack()
    config.add_cleanup(ours.close)
    ours.enter_context(private_temporary_folder())


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: when the terminal has printed all that it has to say
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """Say last what was not tested."""
    yield
    tell_skips(session)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # Tiny tensors gain nothing from threads, and bits depend on their number.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _files_read_anew() -> None:
    """Each test reads files of a user's own by itself, as a process of its own would."""
    own_files.forget()


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """A folder with a name that is hard on whoever forgets to quote."""
    return ObjectStore(filesystem=LocalFilesystem(), root=str(tmp_path / "a store=with %odd & name"))


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


@pytest.fixture
def trainables_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what Tune makes for each Trainable that a test builds by itself, in place of the user's own."""
    folder = tmp_path / "ray_results"
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(folder))
    return folder


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """One Ray session for all tests that need one, started as a sweep starts its own."""
    with private_folder() as folder, local_ray(folder, cpus=2, object_store_bytes=150 * 2**20):
        yield


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """URL of one moto server for all tests."""
    with moto_server() as url:
        yield url


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of one Ceph gateway for all tests."""
    skip_without(CEPH_PROGRAMS, CEPH)
    with ceph_gateway(tmp_path_factory.mktemp("ceph")) as url:
        yield url


def make_bucket(url: str) -> str:
    """A new bucket at a server; its address."""
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=name)
    return f"s3://{name}?{query_of(url)}"


def query_of(url: str) -> str:
    """What an address says of a server."""
    scheme, _, host = url.partition("://")
    return f"scheme={scheme}&endpoint_override={host}"


@pytest.fixture(scope="session")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of one stand-in for Google Cloud Storage for all tests."""
    with google_storage(tmp_path_factory.mktemp("google")) as url:
        yield url


def make_google_bucket(url: str) -> str:
    """A new bucket there; its address."""
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    tell(url, f"buckets/{name}")
    return f"gs://{name}"


PLACES = ["local", "moto", "google", pytest.param("ceph", marks=[pytest.mark.s3, pytest.mark.timeout(120)])]
"""Where everything must work alike."""


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty storage's address; for tests parametrised over ``PLACES``."""
    if request.param == "local":
        return str(tmp_path / "runs")
    if request.param == "google":
        return f"{make_google_bucket(request.getfixturevalue('google'))}/a prefix/runs"
    bucket, _, query = make_bucket(request.getfixturevalue(request.param)).partition("?")
    return f"{bucket}/a prefix/runs?{query}"


@pytest.fixture
def proxy(request: pytest.FixtureRequest) -> Iterator[FaultyProxy]:
    """moto, or the server that a test names, behind a proxy that can fail."""
    faulty = FaultyProxy(request.getfixturevalue(getattr(request, "param", "moto")))
    yield faulty
    faulty.close()
