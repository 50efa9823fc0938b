"""Work that is done once for a sweep, where its trials will run: what is asked of whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")
Made_co = TypeVar("Made_co", covariant=True)


class TaskLostError(Exception):
    """The process of a task died more often than it is started again."""

    def __init__(self, losses: int) -> None:
        super().__init__(f"a process died {losses} times")
        self.losses = losses


class LongTask(Protocol[Made_co]):
    """Work in several parts. One that is started again goes on from where the last one came to."""

    def advance(self) -> Mapping[str, Any]:
        """Work up to the next report, and return it."""

    def describe(self) -> Made_co:
        """Return what has come out; asked after the last report."""


class TaskRunner(Protocol):
    """Runs tasks of a sweep."""

    def run_task(self, task: Callable[..., Result], *arguments: Any, cpus: float, gpus: float) -> Result:
        """Run a function to its end and return what it returns.

        Args:
            task: Is given the arguments, and ``cpus`` and ``gpus`` by name. What it raises is raised here.
            arguments: For the task.
            cpus: CPU cores that are set aside.
            gpus: GPUs that are set aside.
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
        """Run a long task to its end, however many processes that takes, and return what it describes.

        Args:
            start: Makes the task, in its process. What it or the task raises is raised here.
            on_report: Is told each report, some of them again after a loss; whether that was the last one.
            on_loss: Is told of each loss of a process after which another goes on, and whether its machine was lost.
            cpus: CPU cores that are set aside.
            gpus: GPUs that are set aside.
            max_failures: How many losses of a process alone are made up for; those of a machine always are.

        Raises:
            TaskLostError: there were more.
        """
