"""What a session asks of Ray beside running its trials."""

from __future__ import annotations

import ray
from ray.util import placement_group_table

from cluster.nodes import run_on_node
from orchestrator.run.callbacks.watchdog import Answer
from trainables.heartbeat import kill_if_stale

_ANSWER_SECONDS = 10.0
"""How long the driver waits to learn whether it was the watchdog that ended a process."""


def ask_node(node_id: str, pid: int, trial_id: str, seconds: float) -> Answer:
    """Have a node kill a trial's process if its heartbeat is older than so many seconds: see ``watchdog.Ask``."""
    asked = run_on_node(node_id, kill_if_stale, pid, trial_id, seconds)

    def answer() -> float | None:
        try:
            silent: float | None = ray.get(asked, timeout=_ANSWER_SECONDS)
        except (ray.exceptions.RayError, TimeoutError):
            return None
        return silent

    return answer


def own_places() -> int:
    """Placement groups of this job that the cluster has made room for; Tune asks for one for each trial."""
    job = ray.get_runtime_context().get_job_id()
    groups = placement_group_table().values()
    # A group's id ends with that of the job that made it.
    return sum(group["state"] == "CREATED" and group["placement_group_id"].endswith(job) for group in groups)
