"""How many CPU cores this process may use, which on a shared machine are fewer than it has."""

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
"""Where batch systems say what they gave a job. Not all of them bind its processes to those cores."""


def available_cpus(*, environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """CPU cores that this process may use, at least 1: the smallest of all limits that are set.

    Those are the cores that it is bound to, the quotas of its control groups (v1 and v2, fractions of a core rounded down),
    and what the batch system says that the job was given.

    Args:
        environment: The process's variables.
        root: Where ``proc`` and ``sys`` are.
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
    """Cores that the control groups of this process allow, the group itself and all above it.

    Within a container the group's path may be the host's, which is not to be seen there; what is then the root is the
    container's own group.
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
    # A quota of -1 is none.
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _quota_v2(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").strip().partition(" ")
    # "max" is none.
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _read(file: Path) -> str:
    """Return a file's text; empty if the file is missing or may not be read."""
    try:
        return file.read_text()
    except OSError:
        return ""
