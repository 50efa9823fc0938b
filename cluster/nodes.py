"""A function run on a node of the cluster: to look at something there, do something to it, or have a node come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def run_on_node(node_id: str, function: Callable[..., Any], *arguments: Any, alone: bool = False) -> Any:
    """Run a function once in a process of a node, and return Ray's reference to what it gives.

    Args:
        node_id: The node; a node that is gone makes ``ray.get`` raise ``ray.exceptions.RayError``.
        function: Takes no CPU core away from trials.
        arguments: What it is called with.
        alone: Whether the process ends with the call, since what the function looks at holds memory until then.
    """
    # Ray reads its settings when it is imported, and ray_session makes them.
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    calls = {"max_calls": 1} if alone else {}
    task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there, **calls)(function)
    return task.remote(*arguments)


def start_machine(*, gpus: float, seconds: float) -> bool:
    """Have the autoscaler start a machine, and wait for it.

    Args:
        gpus: GPUs of the machine that a task takes, at most.
        seconds: How long the machine may take to come.

    Returns:
        Whether a machine has come; a task that waits for one is taken back.
    """
    # Ray reads its settings when it is imported, and ray_session makes them.
    import ray

    waiting = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(clock).remote()
    ready, _ = ray.wait([waiting], timeout=seconds)
    if not ready:
        ray.cancel(waiting, force=True)
    return bool(ready)


def clock() -> float:
    """Return the time of a node: ``time.time`` is no function that Ray can send."""
    return time.time()
