"""The number of CPU cores that this process may use; on a shared machine it is smaller than the number of cores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

BATCH_VARIABLES = (
    "SLURM_CPUS_PER_TASK",
    "SLURM_CPUS_ON_NODE",
    "NCPUS",  # PBS Professional
    "PBS_NUM_PPN",  # Torque
    "LSB_DJOB_NUMPROC",  # LSF
    "NSLOTS",  # Grid Engine
)
"""Environment variables in which batch systems tell a job its number of cores. Not all of them enforce the number."""


def available_cpus(*, environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return how many CPU cores this process may use: the smallest of all limits, rounded down, but at least 1.

    The limits are the cores that the process is bound to, the quotas of its control groups (v1 and v2), and the number of
    cores that the batch system granted the job.

    Args:
        environment: The environment variables of the process.
        root: Folder that contains ``proc`` and ``sys``.
    """
    limits = [_bound_cores(), *_quotas(root), *_granted(environment)]
    return max(1, int(min(limits)))


def _bound_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _granted(environment: Mapping[str, str]) -> Iterator[int]:
    """Yield the core counts that batch systems grant by environment variables, skipping values that are not positive."""
    for name in BATCH_VARIABLES:
        value = environment.get(name, "").strip()
        if value.isascii() and value.isdigit() and int(value) > 0:
            yield int(value)


def _quotas(root: Path) -> Iterator[float]:
    """Yield the core quotas of this process's control group and of all groups above it.

    Inside a container the group's path may be that of the host, which does not exist there. The root of the control groups
    is then the container's own group.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / ("sys/fs/cgroup/cpu" if controllers else "sys/fs/cgroup")
        group = mount / path.strip().lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(mount):
                break
            quota = _quota_v1(folder) if controllers else _quota_v2(folder)
            if quota is not None:
                yield quota


def _quota_v1(group: Path) -> float | None:
    quota, period = (_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    # A quota of -1 means no limit.
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _quota_v2(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").strip().partition(" ")
    # "max" means no limit.
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _read(file: Path) -> str:
    """Return a file's text; empty if the file is missing or may not be read."""
    try:
        return file.read_text()
    except OSError:
        return ""
