from __future__ import annotations

import json
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.formatting import readable
from orchestrator.results import ResultWriter
from orchestrator.results.inventory import take_inventory
from orchestrator.search.study import open_study
from orchestrator.storage import layout, open_storage
from orchestrator.storage.sweep_store import SweepStore
from tests.support.leaderboards import SWEEP, write
from tests.support.paths import ROOT
from tests.support.rows import trial
from tests.support.tiny import PLACES, make_bucket
from trainables.storage.object_store import ObjectStore


def fill(place: str) -> ObjectStore:
    store = open_storage(place)
    write(store, [{}, {"state": "failed"}], SWEEP)
    study = open_study(SweepStore(store, "sweep-a"), modes=["max"])
    study.tell(study.ask(), 0.5)
    ResultWriter(SweepStore(store, "sweep-b")).write_trial(trial())
    for sweep_id in ("sweep-a", "sweep-b"):
        store.write(f"{layout.checkpoint_folder(sweep_id)}/t0000/0000000004.safetensors", b"x" * 1000)
        store.write(f"{layout.STUDENTS}/{sweep_id}/t0000.safetensors", b"x" * 500)
        store.write(f"reports/{sweep_id}/index.html", b"x")
    store.write("teachers/digits/lenet-abc/weights.safetensors", b"x" * 2000)
    store.write(f"{layout.training_folder('digits', 'lenet', 'abc', 1)}/teacher/0000000001.safetensors", b"x" * 100)
    store.write("somebody/elses.file", b"x")
    return store


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_sweeps_are_listed_with_size_and_state_and_deleted_without_a_trace(place: str) -> None:
    store = fill(place)
    inventory = take_inventory(store)
    assert [sweep.sweep_id for sweep in inventory.sweeps] == ["sweep-a", "sweep-b"]
    first, second = inventory.sweeps
    assert first.trials == {"completed": 1, "failed": 1}
    assert second.state == "no session recorded"
    assert second.size > 1501
    assert inventory.shared == 2100

    runner = CliRunner()
    listed = runner.invoke(app, ["sweeps", "--storage", place])
    assert listed.exit_code == 0, listed.output
    assert "1 completed, 1 failed" in listed.output
    assert "2 sweeps" in listed.output

    kept = store.keys("")
    refused = runner.invoke(app, ["delete", "sweep-a", "--storage", place], input="n\n")
    assert refused.exit_code == 1
    assert "Nothing was deleted" in refused.output
    assert store.keys("") == kept
    deleted = runner.invoke(app, ["delete", "sweep-a", "--storage", place], input="y\n")
    assert deleted.exit_code == 0, deleted.output
    assert f"Delete {len(first.objects)} objects" in deleted.output
    assert not [key for key in store.keys("") if "sweep-a" in key]
    assert {key for key in kept if "sweep-a" not in key} <= set(store.keys(""))
    if not place.startswith("s3://"):
        assert not list(Path(store.root).rglob("*sweep-a*")), "no empty folders"

    assert runner.invoke(app, ["delete", "sweep-b", "--storage", place, "--yes"]).exit_code == 0
    again = runner.invoke(app, ["delete", "sweep-b", "--storage", place, "--yes"])
    assert again.exit_code == 1
    assert "there is no sweep sweep-b; this storage has no sweeps" in again.output
    assert store.exists("somebody/elses.file")


def test_a_sweep_that_runs_is_not_deleted(store: ObjectStore) -> None:
    fill(store.root)
    with SweepStore(store, "sweep-a").lock():
        result = CliRunner().invoke(app, ["delete", "sweep-a", "--storage", store.root, "--yes"])
    assert result.exit_code == 1
    assert "is being run by process" in result.output
    assert store.exists("results/v1/trials/sweep_id=sweep-a/t0000.parquet")


def test_sizes_are_readable() -> None:
    assert [readable(size) for size in (0, 999, 1000, 1_449_000, 5 * 10**13)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.4 MB",
        "50.0 TB",
    ]


@pytest.mark.parametrize("server", ["moto", pytest.param("ceph", marks=pytest.mark.s3)])
def test_the_recommended_lifecycle_rules_are_accepted(server: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(server)
    bucket = make_bucket(url).removeprefix("s3://").partition("?")[0]
    rules = json.loads((ROOT / "cluster" / "s3-lifecycle.json").read_text())
    client = boto3.client("s3", endpoint_url=url)
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    kept = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert {rule["ID"] for rule in kept} == {rule["ID"] for rule in rules["Rules"]}


def test_the_policy_that_messages_name_grants_what_a_sweep_does() -> None:
    policy = json.loads((ROOT / "cluster" / "iam" / "storage.json").read_text())
    granted = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert granted >= {
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
    }
