"""Cores from affinity, control groups and batch systems; the files of a system are made in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster import cpus
from cluster.cpus import available_cpus


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "_bound_cores", lambda: 16)


def make_system(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A folder with the ``/proc/self/cgroup`` and the files below ``/sys/fs/cgroup`` that a system would have."""
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{n}": t for n, t in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/user.slice\n", {"cpu.max": "max 100000\n", "user.slice/cpu.max": "max 100000\n"}, 16),
        ("0::/jobs/7\n", {"jobs/7/cpu.max": "350000 100000\n"}, 3),
        ("0::/jobs/7\n", {"jobs/cpu.max": "200000 100000\n", "jobs/7/cpu.max": "max 100000\n"}, 2),
        ("0::/jobs/7\n", {"jobs/cpu.max": "800000 100000\n", "jobs/7/cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/docker/of-the-host\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/jobs/7\n", {"jobs/7/cpu.max": "6400000 100000\n"}, 16),
        ("0::/../jobs/7\n", {"cpu.max": "500000 100000\n"}, 5),
        (
            "5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n0::/docker/1\n",
            {"cpu/docker/1/cpu.cfs_quota_us": "250000\n", "cpu/docker/1/cpu.cfs_period_us": "100000\n"},
            2,
        ),
        ("4:cpuacct,cpu:/x\n", {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
        ("4:cpuset:/x\n", {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
    ],
    ids=[
        *("v2 without a quota", "v2, rounded down", "v2, of a group above", "v2, the smaller one", "v2, half a core"),
        *("v2 in a container", "v2, more than there are", "v2 above a namespace's root", "v1", "v1 in a container"),
        *("v1 without a quota", "another controller of v1"),
    ],
)
def test_quotas_of_control_groups(tmp_path: Path, groups: str, files: dict[str, str], expected: int) -> None:
    assert available_cpus(environment={}, root=make_system(tmp_path, groups, files)) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 16),
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "8"}, 4),
        ({"SLURM_CPUS_ON_NODE": "8"}, 8),
        ({"NCPUS": "6"}, 6),
        ({"PBS_NUM_PPN": "5"}, 5),
        ({"LSB_DJOB_NUMPROC": "3"}, 3),
        ({"NSLOTS": "2"}, 2),
        ({"NSLOTS": "64"}, 16),
        ({"NSLOTS": "", "NCPUS": "0", "SLURM_CPUS_ON_NODE": "72(x2)"}, 16),
    ],
)
def test_what_batch_systems_gave(tmp_path: Path, environment: dict[str, str], expected: int) -> None:
    assert available_cpus(environment=environment, root=tmp_path) == expected


def test_the_smallest_limit_holds(tmp_path: Path) -> None:
    system = make_system(tmp_path, "0::/\n", {"cpu.max": "300000 100000\n"})
    assert available_cpus(environment={"NSLOTS": "5"}, root=system) == 3
    assert available_cpus(environment={"NSLOTS": "2"}, root=system) == 2


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_cores_that_the_process_is_bound_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cpus(environment={}, root=tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)
