from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cluster.capacity import Capacity, NodeType
from cluster.providers.aws import Aws
from cluster.providers.base import QuotaError
from orchestrator import version as provenance
from orchestrator.cli import app
from orchestrator.commands.doctor import check_inputs, check_quota, check_trials, start_worker
from orchestrator.commands.findings import Finding
from orchestrator.commands.node_checks import (
    check_bfloat16,
    check_clocks,
    check_gpus,
    check_nodes,
    check_storage,
    check_versions,
)
from orchestrator.commands.node_facts import NodeFacts
from orchestrator.config.blocks import StorageConfig
from tests.support.paths import ROOT
from tests.support.plans import tiny

VERSIONS = {"Python": "3.11.2", "Ray": "2.60.0", "torch": "2.14.1", "CUDA": "13.0", "zskt": "0.1.0"}
HEAD = NodeFacts(name="head", is_head=True, versions=VERSIONS | {"CUDA": "none"}, clock_ahead=100.0)
WORKER = NodeFacts(name="worker", versions=VERSIONS, gpus=1, gpus_seen=1, clock_ahead=100.4)
PLACE = StorageConfig(uri="s3://bucket/prefix?endpoint_override=secret:9000")


def problems(*findings: Finding) -> list[str]:
    return [str(finding) for finding in findings if finding.outcome != "ok"]


def test_a_sound_cluster_has_no_problem_and_one_line_for_each_check() -> None:
    nodes = [HEAD, WORKER]
    found = [
        check_nodes(nodes),
        *check_versions(nodes),
        check_gpus(nodes),
        check_storage(nodes, PLACE),
        check_clocks(nodes),
    ]
    assert [str(finding) for finding in found] == [
        "ok       nodes: 2 answer",
        "ok       Python: 3.11.2",
        "ok       Ray: 2.60.0",
        "ok       torch: 2.14.1",
        "ok       CUDA: 13.0",
        "ok       zskt: 0.1.0",
        "ok       GPUs: 1",
        "ok       storage: s3://bucket/prefix is written and read by every node",
        "ok       clocks: within 0.4 s of the head's",
    ]


def test_another_version_on_one_node_is_named_with_both() -> None:
    old = replace(WORKER, name="old", versions=VERSIONS | {"torch": "2.13.0"})
    (finding,) = problems(*check_versions([HEAD, WORKER, old]))
    assert finding.startswith(
        "problem  torch: 2.14.1 on head, worker; 2.13.0 on old: use one image, or run ray up again"
    )


def test_instructions_for_bfloat16_are_told_and_missed_where_a_sweep_needs_them() -> None:
    with_amx, without = replace(WORKER, name="new", bfloat16="AMX_BF16"), replace(WORKER, name="old")
    assert str(check_bfloat16([with_amx], wanted=True)) == "ok       bfloat16: AMX_BF16 on new"
    nodes = [with_amx, without, replace(WORKER, name="silent", failure="no answer")]
    told = "bfloat16: AMX_BF16 on new; no instructions for it on old, where precision=bfloat16 is slow and refused"
    assert str(check_bfloat16(nodes, wanted=False)) == f"ok       {told}"
    assert str(check_bfloat16(nodes, wanted=True)).startswith(f"problem  {told}: use precision=float32, or ")
    # Trials on workers are what counts.
    assert check_bfloat16([HEAD, with_amx], wanted=True).outcome == "ok"
    assert check_bfloat16([HEAD], wanted=True).outcome == "problem"
    # Of a node that does not answer nothing is known.
    assert check_bfloat16([HEAD, with_amx, replace(WORKER, failure="no answer")], wanted=True).outcome == "ok"


def test_a_gpu_that_torch_does_not_see_is_one() -> None:
    (finding,) = problems(check_gpus([HEAD, replace(WORKER, gpus_seen=0)]))
    assert finding.startswith(
        "problem  GPUs: torch does not see the GPUs of worker (1 counted, 0 seen): check nvidia-smi there"
    )
    assert check_gpus([HEAD]).text == "none: trials run on CPUs"


def test_workers_that_are_not_up_yet_are_not_called_sound() -> None:
    finding = check_gpus([HEAD], may_come=True)
    assert finding.outcome == "skipped"
    assert "no worker is up, so that none was checked" in finding.text
    assert "--start-worker" in finding.text
    assert check_gpus([HEAD, WORKER], may_come=True).text == "1"


@pytest.mark.parametrize(("comes", "gpus"), [(True, 1), (True, 0), (False, 1)])
def test_a_worker_is_started_to_be_looked_at(comes: bool, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, float]] = []
    cancelled: list[str] = []

    def remote(**wanted: float) -> Any:
        asked.append(wanted)
        return lambda function: SimpleNamespace(remote=lambda: "waiting")

    monkeypatch.setattr("ray.remote", remote)
    monkeypatch.setattr("ray.wait", lambda tasks, timeout: (tasks, []) if comes else ([], tasks))
    monkeypatch.setattr("ray.cancel", lambda task, force: cancelled.append(task))
    growing = Capacity(fixed=[], added=[NodeType(count=8, cpus=4, gpus=gpus)], max_added=8)
    trouble = start_worker(growing)
    assert asked == [{"num_cpus": 1, "num_gpus": gpus, "max_retries": 0}]
    assert (trouble is None) == comes
    if trouble:
        assert "no machine came up in 900 s: `ray status`" in problems(trouble)[0]
        assert cancelled == ["waiting"]


def test_code_is_compared_and_not_only_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nodes_code(text: str) -> str:
        module = tmp_path / "trainables" / "losses.py"
        module.parent.mkdir(exist_ok=True)
        module.write_text(text)
        return provenance.code_hash()

    ours = provenance.code_hash()
    monkeypatch.setattr(provenance, "_FOLDER", tmp_path)
    head, stale = nodes_code("TEMPERATURE = 1\n"), nodes_code("TEMPERATURE = 2\n")
    assert len({ours, head, stale}) == 3
    assert nodes_code("TEMPERATURE = 1\n") == head
    facts = [
        replace(node, versions=VERSIONS | {"zskt": f"0.1.0, code {code}"})
        for node, code in ((HEAD, head), (WORKER, stale))
    ]
    (finding,) = problems(*check_versions(facts))
    assert finding.startswith(f"problem  zskt: 0.1.0, code {head} on head; 0.1.0, code {stale} on worker: ")


def test_a_node_that_may_not_write_is_named_with_the_reason() -> None:
    refused = replace(WORKER, storage_error="these credentials may not write (s3:PutObject)")
    assert problems(check_storage([HEAD, refused], PLACE)) == [
        "problem  storage: from worker: these credentials may not write (s3:PutObject)"
    ]
    assert check_storage([HEAD], None).outcome == "skipped"


def test_a_node_without_the_package_is_named_and_the_others_are_still_compared() -> None:
    bare = NodeFacts(name="bare", failure="ModuleNotFoundError: No module named 'orchestrator'")
    (finding,) = problems(check_nodes([HEAD, bare]), *check_versions([HEAD, bare]), check_clocks([HEAD, bare]))
    assert (
        "bare (ModuleNotFoundError: No module named 'orchestrator') cannot run tasks of zskt: install the package"
        in finding
    )


def test_clocks_are_held_against_the_heads() -> None:
    late = replace(WORKER, name="late", clock_ahead=40.0)
    assert problems(check_clocks([HEAD, WORKER, late])) == [
        "problem  clocks: against the head: late -60.0 s: set them (NTP: chrony or systemd-timesyncd)"
    ]


def test_the_spot_quota_is_held_against_what_the_cluster_may_want(monkeypatch: pytest.MonkeyPatch) -> None:
    description = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    asked: list[str] = []

    def answer(cores: float | None) -> None:
        def ask(region: str) -> float:
            asked.append(region)
            if cores is None:
                raise QuotaError("AccessDeniedException")
            return cores

        monkeypatch.setattr(Aws, "spot_quota", replace(Aws.spot_quota, ask=ask))

    answer(32)
    assert check_quota(description).outcome == "ok"
    answer(8)
    (finding,) = problems(check_quota(description))
    assert "8 CPU cores of spot instances with GPUs in us-west-2, and the cluster may want 32: ask for more" in finding
    answer(None)
    assert "cannot be read in us-west-2 (AccessDeniedException)" in check_quota(description).text
    assert asked == ["us-west-2"] * 3
    elsewhere = [check_quota(None), check_quota({"provider": {"type": "gcp"}})]
    assert {(finding.outcome, finding.text) for finding in elsewhere} == {
        ("skipped", "not a cluster on AWS; name one with --cluster")
    }
    assert len(asked) == 3


def test_a_trial_that_fits_nowhere_is_a_problem() -> None:
    small = Capacity(fixed=[NodeType(count=1, cpus=2, gpus=0)])
    assert check_trials(tiny(), small).text == "2 at once, each with 1 CPU cores and 0 GPUs"
    assert "run with --gpus 0" in problems(check_trials(tiny().with_resources(gpu=1), small))[0]
    with_gpu = Capacity(fixed=[NodeType(count=1, cpus=2, gpus=1)])
    assert check_trials(tiny().with_resources(gpu="auto"), with_gpu).text == (
        "1 at once, each with 1 CPU cores and 1 GPUs, or more where the sweep finds that trials should share a GPU"
    )
    assert check_trials(tiny().with_resources(gpu=1), with_gpu).text.endswith("1 GPUs")


def test_data_and_teachers_are_looked_for(tmp_path: Path) -> None:
    sweep = tiny().model_copy(update={"storage": StorageConfig(uri=str(tmp_path / "runs"))})
    data, teacher = check_inputs(sweep)
    assert str(data).startswith("ok       data set digits: ")
    assert str(teacher).startswith("ok       teacher lenet: not there yet; the sweep trains it first, on ")
    missing = tiny(teacher_checkpoint=str(tmp_path / "lenet.pt"))
    assert "lenet.pt" in problems(*check_inputs(missing))[0]
    elsewhere = tiny(dataset_file=str(tmp_path / "digits.parquet"))
    for finding in problems(*check_inputs(elsewhere)):
        assert "there is no such file or folder; zskt dataset export" in finding


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
@pytest.mark.timeout(120)
def test_this_machine_is_sound_and_a_storage_that_is_not_gives_exit_code_1(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny().model_dump(mode="json")))
    result = CliRunner().invoke(app, ["doctor", str(file), "--storage", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "ok       nodes: this machine answers"
    assert "ok       trials: 2 at once, each with 1 CPU cores and 0 GPUs" in lines
    assert "ok       packages: all are this program's own" in lines
    assert any(line.startswith("ok       storage: ") for line in lines)
    assert not list((tmp_path / "runs").iterdir()), "nothing stays of what was tried"
    (tmp_path / "file").write_text("not a folder")
    broken = CliRunner().invoke(app, ["doctor", "--storage", str(tmp_path / "file" / "runs")])
    assert broken.exit_code == 1
    assert "problem  storage: from " in broken.output
    assert broken.output.splitlines()[-1] == "1 problem"
