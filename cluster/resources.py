"""How many trials fit."""

from __future__ import annotations


def max_concurrent_trials(*, cpus: float, gpus: float, cpus_per_trial: float, gpus_per_trial: float) -> int:
    """Trials that run at once on a cluster with so many CPU cores and GPUs.

    Raises:
        ValueError: not even one fits; the message says which resource is short and what to do.
    """
    if gpus_per_trial > gpus:
        raise ValueError(
            f"a trial asks for {gpus_per_trial:g} GPU and the cluster has {gpus:g}: run with --gpus 0 (slow), or on a "
            "cluster with GPUs"
        )
    if cpus_per_trial > cpus:
        raise ValueError(
            f"a trial asks for {cpus_per_trial:g} CPU cores and the cluster has {cpus:g}: run with --cpus 1"
        )
    by_cpu = int(cpus / cpus_per_trial)
    return min(by_cpu, int(gpus / gpus_per_trial)) if gpus_per_trial else by_cpu
