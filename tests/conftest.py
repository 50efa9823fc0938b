"""Fixtures that the whole suite shares. Real loop and real backward pass on networks and batches that take milliseconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.chaos.servers import ACCESS_KEY, SECRET_KEY, FaultyProxy, moto_server
from tests.support.servers import CEPH_PROGRAMS, ceph_gateway, google_storage

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

import torch

from cluster.local_ray import local_ray
from cluster.private_folder import private_folder
from tests.support.missing import CEPH, skip_without, tell_skips
from tests.support.temporary import private_temporary_folder
from tests.support.tiers import mark_tiers
from tests.support.tiny import make_bucket, make_google_bucket
from trainables.storage.filesystems import LocalFilesystem
from trainables.storage.object_store import ObjectStore
from trainables.system import own_files
from trainables.training.distiller import ZeroShotDistiller

DistillerFactory = Callable[..., ZeroShotDistiller]


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook, and pytest selects by marks in it
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tiers, and say which tests share a process where pytest has several.

    Tests of Ray and of Ceph share one session of each; those whose sweeps are processes of their own run beside them.
    """
    mark_tiers(config, items)
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


@pytest.fixture(scope="session")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of one stand-in for Google Cloud Storage for all tests."""
    with google_storage(tmp_path_factory.mktemp("google")) as url:
        yield url


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
