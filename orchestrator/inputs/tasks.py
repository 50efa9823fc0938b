"""Interfaces of tasks: work that is done once for a sweep, such as training a teacher, and of the backend that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")
Made_co = TypeVar("Made_co", covariant=True)


class TaskLostError(Exception):
    """The process of a task died more often than the task may be started again."""

    def __init__(self, losses: int) -> None:
        super().__init__(f"a process died {losses} times")
        self.losses = losses


class LongTask(Protocol[Made_co]):
    """Work in several parts. After a loss of its process, a new instance resumes from where the last one came to."""

    def advance(self) -> Mapping[str, Any]:
        """Work up to the next report, and return the report."""

    def describe(self) -> Made_co:
        """Return the result; called after the last report."""


class TaskRunner(Protocol):
    """Runs tasks of a sweep."""

    def run_task(self, task: Callable[..., Result], *arguments: Any, cpus: float, gpus: float) -> Result:
        """Run a function and return its result.

        Args:
            task: Called with the arguments, and with ``cpus`` and ``gpus`` by name. Its exceptions are raised here.
            arguments: Positional arguments of the task.
            cpus: CPU cores to reserve.
            gpus: GPUs to reserve.
        """

    def follow(
        self,
        start: Callable[[], LongTask[Result]],
        *,
        on_report: Callable[[Mapping[str, Any]], bool],
        on_loss: Callable[[bool], None],
        cpus: float,
        gpus: float,
        max_failures: int,
    ) -> Result:
        """Run a long task to its end, in as many processes as needed, and return what its ``describe`` returns.

        Args:
            start: Creates the task, in the task's process. Exceptions of ``start`` and of the task are raised here.
            on_report: Called with each report, after a loss also with repeated ones. Returns whether the report is the last.
            on_loss: Called after each loss of a process that is replaced, with whether the machine was lost too.
            cpus: CPU cores to reserve.
            gpus: GPUs to reserve.
            max_failures: How many losses of a process are tolerated. Losses of a machine do not count.

        Raises:
            TaskLostError: more processes were lost.
        """
