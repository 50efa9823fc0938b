"""Functions that run on a chosen node of the cluster, and a request to the autoscaler for one more machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def run_on_node(node_id: str, function: Callable[..., Any], *arguments: Any, alone: bool = False) -> Any:
    """Run a function once in a process on a node, and return Ray's reference to its result.

    Args:
        node_id: The node. If the node is gone, ``ray.get`` on the reference raises ``ray.exceptions.RayError``.
        function: The function; it reserves no CPU core, so it takes none away from trials.
        arguments: Arguments of the function.
        alone: Whether the process ends after the call, to release memory that the function's work would otherwise hold.
    """
    # Imported late, since ray_session sets the environment variables that Ray reads on import.
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    calls = {"max_calls": 1} if alone else {}
    task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there, **calls)(function)
    return task.remote(*arguments)


def start_machine(*, gpus: float, seconds: float) -> bool:
    """Make the autoscaler start a machine by submitting a task for it, and wait until the task has run.

    Args:
        gpus: GPUs that the task requests.
        seconds: How long to wait for the machine.

    Returns:
        Whether the task has run in time. If it has not, the task is cancelled.
    """
    # Imported late, since ray_session sets the environment variables that Ray reads on import.
    import ray

    waiting = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(clock).remote()
    ready, _ = ray.wait([waiting], timeout=seconds)
    if not ready:
        ray.cancel(waiting, force=True)
    return bool(ready)


def clock() -> float:
    """Return the current time on a node. Ray cannot send ``time.time`` itself, since it is a built-in function."""
    return time.time()
