from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from benchmarks.chaos.servers import FaultyProxy, free_port
from orchestrator.cli import app
from orchestrator.cli.options import storage_config
from orchestrator.config import SweepConfig
from orchestrator.config.blocks import StorageConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ClusterError, ConfigError, StorageError, SweepBusyError
from orchestrator.storage import find_object, find_storage, local_path, open_storage, shown
from orchestrator.storage.bucket import _clock_skew, create_bucket
from orchestrator.storage.sweep_store import SweepStore
from tests.support.tiny import make_bucket, query_of
from trainables.storage.filesystems.s3 import S3Filesystem
from trainables.storage.object_store import ObjectStore


def test_a_folder_is_made_and_left_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_storage("./new/runs")
    assert store.root == str(tmp_path / "new" / "runs")
    assert list((tmp_path / "new" / "runs").iterdir()) == []
    assert open_storage(f"file://{tmp_path}/other").root == str(tmp_path / "other")
    assert local_path(store, "a/b") == tmp_path / "new" / "runs" / "a" / "b"


def test_a_place_that_cannot_be_used_is_known_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="storage .*/file/runs cannot be written to"):
        open_storage(str(tmp_path / "file" / "runs"))
    with pytest.raises(ConfigError, match="nonsense:// is not an address that can be opened; expected a folder, "):
        open_storage("nonsense://bucket/x")
    for no_file in ("s3://bucket", "s3://bucket/folder/", f"{tmp_path}/"):
        with pytest.raises(StorageError, match="expected the address of a file"):
            find_object(no_file)


def test_looking_creates_nothing(tmp_path: Path) -> None:
    find_storage(str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_an_empty_address_is_refused_where_it_is_given() -> None:
    """It comes from a variable of a shell that is not set, and would fill the folder in which the command starts."""
    with pytest.raises(ConfigError, match="storage: the address is empty; name a folder, or . for this one"):
        load_sweep("quickstart", flags={"storage": ""})
    with pytest.raises(ConfigError, match="--storage: the address is empty"):
        storage_config(" ")
    sweep = load_sweep("quickstart")
    begun = sweep.model_copy(update={"storage": StorageConfig.model_construct(uri="")})
    assert SweepConfig.stored(begun.model_dump_json()).storage.uri == ""


def test_keys_in_an_address_are_refused_and_queries_not_shown() -> None:
    assert shown("s3://bucket/prefix?endpoint_override=x&secret_key=y") == "s3://bucket/prefix"
    assert shown("./runs?") == "./runs?"
    with pytest.raises(ConfigError, match="storage: the address holds a key") as caught:
        load_sweep("quickstart", flags={"storage": "s3://id:secret@bucket/prefix"})
    assert "secret" not in str(caught.value)
    load_sweep("quickstart", flags={"storage": "file:///data/me@host/runs"})
    with pytest.raises(ConfigError, match="the address holds a key") as caught:
        load_sweep("quickstart", flags={"storage": "s3://bucket/prefix?secret_key=secret"})
    assert "=secret" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"the address has regio; allowed after the \? are endpoint_override, "):
        load_sweep("quickstart", flags={"storage": "s3://bucket/prefix?regio=x"})


def test_the_service_comes_from_the_block_the_address_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(storage: StorageConfig | str) -> object:
        return find_storage(storage).filesystem

    address = "s3://b/p?endpoint_override=127.0.0.1:5&scheme=http&region=eu-west-1"
    assert of(address) == S3Filesystem(endpoint="http://127.0.0.1:5", region="eu-west-1")
    assert of("s3://b/p?endpoint_override=https%3A%2F%2Fs3.example.org") == S3Filesystem(
        endpoint="https://s3.example.org"
    )
    assert of("s3://b/p") == S3Filesystem()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:6")
    assert of("s3://b/p") == S3Filesystem(endpoint="http://127.0.0.1:6")
    assert of(address) == S3Filesystem(endpoint="http://127.0.0.1:5", region="eu-west-1")
    block = StorageConfig(uri="s3://b/p/", endpoint="http://127.0.0.1:7", region="x", patience_seconds=7)
    assert of(block) == S3Filesystem(endpoint="http://127.0.0.1:7", region="x")
    assert (find_storage(block).root, find_storage(block).patience) == ("b/p", 7)
    with pytest.raises(StorageError, match="expected s3://BUCKET/PREFIX"):
        find_storage("s3:///prefix")


SERVERS = ["moto", pytest.param("ceph", marks=[pytest.mark.s3, pytest.mark.timeout(120)])]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_mistyped_bucket_is_known_without_retries_and_made_on_request(server: str) -> None:
    address = f"s3://no-{uuid.uuid4().hex}/p?{query_of(server)}"
    open_storage(make_bucket(server))  # boto3's first client takes its time
    start = time.monotonic()
    with pytest.raises(
        StorageError, match=r"there is no bucket no-\w+ at http://.*; correct the name, or create it with --create"
    ):
        open_storage(address)
    assert time.monotonic() - start < 10  # and not the minutes that retries would take
    assert create_bucket(address)
    assert not create_bucket(address)
    open_storage(address)


def test_a_folder_needs_no_bucket(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is for s3:// addresses"):
        create_bucket(str(tmp_path))


@pytest.mark.s3
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("AWS_SECRET_ACCESS_KEY", "the secret key does not belong to the access key"),
        ("AWS_ACCESS_KEY_ID", "the service does not know the access key"),
    ],
)
def test_wrong_keys_are_told_apart_and_not_shown(
    variable: str, reason: str, ceph: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = make_bucket(ceph)
    monkeypatch.setenv(variable, "wrong-and-private")
    with pytest.raises(StorageError, match=reason) as caught:
        open_storage(address)
    assert "private" not in str(caught.value)


@pytest.mark.parametrize("mode", ["reset", "503"])
def test_a_driver_may_begin_while_storage_is_away_for_a_moment(
    mode: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = make_bucket(proxy.url)
    monkeypatch.setattr("orchestrator.storage.bucket._PREFLIGHT_ATTEMPTS", 1)
    away = proxy.fail_for(2, mode)
    assert open_storage(address).filesystem
    away.join()
    monkeypatch.setattr("orchestrator.storage.bucket.PREFLIGHT_PATIENCE", 0.5)
    proxy.mode = mode
    with pytest.raises(StorageError, match="storage s3://"):
        open_storage(address)


def test_a_wrong_secret_is_one_message(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    # moto takes any key, so the answer is what Ceph and AWS say.
    proxy.refusal = "SignatureDoesNotMatch"
    proxy.mode = "deny GET"
    with pytest.raises(StorageError, match="the secret key does not belong to the access key"):
        open_storage(f"s3://bucket/p?{query_of(proxy.url)}")


def test_without_credentials_it_says_where_they_are_looked_for(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        open_storage(f"s3://bucket/p?{query_of(moto)}")


WRONG_REGION: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"Code": "PermanentRedirect", "Endpoint": "b.s3-eu-west-1.amazonaws.com"}, {"x-amz-bucket-region": "eu-west-1"}),
    ({"Code": "AuthorizationHeaderMalformed", "Region": "eu-west-1"}, {}),
    ({"Code": "301"}, {"x-amz-bucket-region": "eu-west-1"}),
    ({"Code": "IllegalLocationConstraintException"}, {}),
]


@pytest.mark.parametrize(("told", "headers"), WRONG_REGION)
def test_a_wrong_region_is_said_with_the_right_one(
    told: dict[str, str], headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        def list_objects_v2(self, **_: Any) -> None:
            raise ClientError({"Error": told, "ResponseMetadata": {"HTTPHeaders": headers}}, "ListObjectsV2")

    monkeypatch.setattr("orchestrator.storage.bucket.make_client", lambda *_, **__: Elsewhere())
    with pytest.raises(StorageError) as caught:
        open_storage("s3://bucket/p")
    if told["Code"] == "IllegalLocationConstraintException":
        assert "the bucket is in another region than the request" in str(caught.value)
        assert "aws s3api get-bucket-location" in str(caught.value)
    else:
        assert "the bucket is in another region, eu-west-1, than the request" in str(caught.value)
        assert "set AWS_DEFAULT_REGION=eu-west-1, or add ?region=eu-west-1 to the address" in str(caught.value)


def test_the_command_line_makes_a_bucket_before_the_sweep(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(sweep: SweepConfig, **_: Any) -> None:
        open_storage(sweep.storage)
        raise ClusterError("the sweep began")

    monkeypatch.setattr("orchestrator.run.sweep.run_sweep", nothing)
    bucket = f"made-{uuid.uuid4().hex[:8]}"
    command = ["sweep", "quickstart", "--storage", f"s3://{bucket}/p?{query_of(moto)}"]
    without = CliRunner().invoke(app, command)
    assert "create it with --create-bucket" in without.output
    made = CliRunner().invoke(app, [*command, "--create-bucket"])
    assert f"made the bucket of s3://{bucket}/p" in made.output
    assert "the sweep began" in made.output
    again = CliRunner().invoke(app, [*command, "--create-bucket"])
    assert "made the bucket" not in again.output
    assert "the sweep began" in again.output


def test_an_address_where_nothing_answers_is_named() -> None:
    port = free_port()
    with pytest.raises(StorageError, match=f"nothing answers at http://127.0.0.1:{port}/bucket.*; check the endpoint"):
        open_storage(f"s3://bucket/p?scheme=http&endpoint_override=127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("method", "rights"),
    [
        ("PUT", ["write (s3:PutObject)"]),
        ("DELETE", ["delete (s3:DeleteObject)"]),
        ("GET", ["list (s3:ListBucket on the bucket)", "read (s3:GetObject)"]),
        ("POST", ["write in parts"]),
    ],
)
def test_missing_rights_are_all_named_in_one_message(
    method: str, rights: list[str], proxy: FaultyProxy, moto: str
) -> None:
    address = make_bucket(moto).partition("?")[0] + "/p?" + query_of(proxy.url)
    proxy.mode = f"deny {method}"
    with pytest.raises(StorageError, match="these credentials may not") as caught:
        open_storage(address)
    for right in rights:
        assert right in str(caught.value)
    assert "cluster/iam/storage.json" in str(caught.value)


@pytest.mark.s3
@pytest.mark.timeout(120)
def test_a_bucket_that_may_be_read_only_is_known_before_anything_runs(ceph: str) -> None:
    address = make_bucket(ceph)
    bucket = address.removeprefix("s3://").partition("?")[0]
    read_only = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": ["s3:PutObject"],
                "Resource": [f"arn:aws:s3:::{bucket}/*"],
            }
        ],
    }
    boto3.client("s3", endpoint_url=ceph).put_bucket_policy(Bucket=bucket, Policy=json.dumps(read_only))
    with pytest.raises(StorageError, match=r"may not write \(s3:PutObject\)\. The service says AccessDenied"):
        open_storage(address)


def test_a_clock_that_is_off_is_known_before_requests_are_refused(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = make_bucket(moto)
    monkeypatch.setattr(
        "orchestrator.storage.bucket._clock_skew", lambda headers: _clock_skew(headers, lambda: time.time() + 600)
    )
    with pytest.raises(StorageError, match=r"this machine's clock differs from the service's by \+(599|6\d\d) s"):
        open_storage(address)
    assert _clock_skew({}) == 0


_HOLD = """
import sys
from orchestrator.storage import SweepStore, find_storage
with SweepStore(find_storage(sys.argv[1]), "sweep-a").lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("place", ["folder", "s3://bucket/runs?region=eu-west-1"])
def test_a_sweep_has_one_driver_until_it_dies(place: str, store: ObjectStore) -> None:
    """On a bucket: on one machine, and nothing is asked of the bucket."""
    command = [sys.executable, "-c", _HOLD, store.root if place == "folder" else place]
    store = store if place == "folder" else find_storage("s3://bucket/runs/?region=eu-west-2")
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(SweepBusyError, match=f"sweep sweep-a is being run by process {holder.pid};"),
        SweepStore(store, "sweep-a").lock(),
    ):
        pass
    with SweepStore(store, "sweep-b").lock():
        pass
    holder.kill()
    holder.communicate()
    with SweepStore(store, "sweep-a").lock():
        pass


def test_sweeps_of_the_same_name_elsewhere_do_not_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SweepStore(find_storage("s3://bucket/a"), "sweep-a").lock():
        for address in ("s3://bucket/b", "s3://bucket/a?endpoint_override=s3.example.org", "gs://bucket/a"):
            with SweepStore(find_storage(address), "sweep-a").lock():
                pass
    assert not caplog.records
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with SweepStore(find_storage("s3://bucket/a"), "sweep-a").lock():
        pass
    assert "sweep sweep-a is not guarded against a second driver" in caplog.text
