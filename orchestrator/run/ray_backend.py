"""A session on Ray: its tasks and trials in processes of a cluster, or of a Ray of this machine alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import ray
from ray.util import placement_group_table

from cluster.capacity import Capacity
from cluster.credentials import no_credentials
from cluster.nodes import run_on_node
from cluster.prices import Machine
from cluster.private_folder import NoPrivateFolderError
from cluster.process_failures import LOST_MACHINE
from cluster.session import HiddenPackageError, NoClusterError, RaySession, ray_session
from orchestrator.errors import ClusterError, ConfigError
from orchestrator.inputs.tasks import LongTask, TaskLostError
from orchestrator.run.backend import Backend, TrialWork
from orchestrator.run.callbacks.pending import PendingWatchdog
from orchestrator.run.callbacks.watchdog import Answer, StallWatchdog
from orchestrator.run.gpu_sharing_measurement import RayGpus
from orchestrator.run.tune import run_trials, tune_environment
from trainables.config.plugins import why_it_fails
from trainables.system.heartbeat import kill_if_stale
from trainables.system.own_files import OwnFile, hold, run_file

Result = TypeVar("Result")

_ANSWER_SECONDS = 10.0
"""How long the driver waits to learn whether it was the watchdog that ended a process."""

_RUN_SECONDS = 60.0
"""How long a machine may take to run the files of the user's own once."""


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


@dataclass(frozen=True, kw_only=True)
class RayTasks:
    """Runs tasks where Ray has room: see ``TaskRunner``. Ray must be connected."""

    code: Sequence[OwnFile] = ()
    """Files of the user's own that tasks may run: on another machine they are not there."""

    borrow_credentials: Callable[[], None] = no_credentials
    """See ``RaySession``; called in the process of a long task, which reads and writes storage."""

    def run_task(self, task: Callable[..., Result], *arguments: Any, cpus: float, gpus: float) -> Result:
        """See ``TaskRunner``."""
        result: Result = ray.get(
            ray.remote(num_cpus=cpus, num_gpus=gpus)(_run_with_code).remote(
                self.code, task, *arguments, cpus=cpus, gpus=gpus
            )
        )
        return result

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
        """See ``TaskRunner``."""
        # Started again by hand: Ray's own restarts hold only while it keeps the images it was given, and say so in red.
        crashes = 0
        while True:
            process = ray.remote(num_cpus=cpus, num_gpus=gpus)(_Process).remote(
                start, self.code, self.borrow_credentials
            )
            try:
                while not on_report(ray.get(process.advance.remote())):
                    pass
                result: Result = ray.get(process.describe.remote())
                return result
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None  # the task's own error, without Ray's account of where it happened
            except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
                lost = LOST_MACHINE in str(error)  # which says nothing of the task, as with trials
                crashes += not lost
                if crashes > max_failures:
                    raise TaskLostError(crashes) from error
                on_loss(lost)
            finally:
                ray.kill(process)


def _run_with_code(code: Sequence[OwnFile], task: Callable[..., Result], *arguments: Any, **resources: float) -> Result:
    hold(code)
    return task(*arguments, **resources)


class _Process:
    """Ray's actor in which a long task runs."""

    def __init__(
        self, start: Callable[[], LongTask[Any]], code: Sequence[OwnFile], borrow_credentials: Callable[[], None]
    ) -> None:
        self._start = start
        self._code = code
        self._borrow_credentials = borrow_credentials
        self._task: LongTask[Any] | None = None

    def advance(self) -> Mapping[str, Any]:
        if self._task is None:  # not before: what an actor raises while it is made is to Ray the loss of a process
            self._borrow_credentials()
            hold(self._code)
            self._task = self._start()
        return self._task.advance()

    def describe(self) -> Any:
        assert self._task is not None  # it has reported
        return self._task.describe()


@dataclass(frozen=True, kw_only=True)
class RayBackend(RayTasks):
    """What a connection to Ray has to give: see ``Backend``."""

    session: RaySession
    concurrency: int | None = None
    """Trials at once at most. Defaults to what the machines hold."""

    gpu_pool: RayGpus = field(default_factory=RayGpus)
    keeps_terminal: bool = True

    @property
    def cpus(self) -> float:
        """See ``Backend``."""
        return self.session.cpus

    @property
    def gpus(self) -> float:
        """See ``Backend``."""
        return self.session.gpus

    @property
    def hosts(self) -> int:
        """See ``Backend``."""
        return self.session.hosts

    @property
    def capacity(self) -> Capacity:
        """See ``Backend``."""
        return self.session.capacity

    def machine(self, node_id: str) -> Machine | None:
        """See ``Backend``."""
        return self.session.machine(node_id)

    def machines(self) -> set[Machine]:
        """See ``Backend``."""
        return self.session.machines()

    def run_trials(self, work: TrialWork) -> bool:
        """See ``Backend``; watched for trials that hang or find no room."""
        cpus, gpus = work.sweep.resources.cpu, work.sweep.gpus_per_trial
        stalls = StallWatchdog(work.sweep.hung, ask=ask_node, clock=work.clock)
        pending = PendingWatchdog(
            cpus=cpus,
            gpus=gpus,
            warn=work.warn,
            there=ray.cluster_resources,
            free=ray.available_resources,
            placed=own_places,
            clock=work.clock,
        )
        most = self.capacity.trials(cpus=cpus, gpus=gpus)
        return run_trials(
            work,
            [*work.callbacks, stalls, pending],
            folder=self.session.folder,
            concurrency=min(most, self.concurrency or most),
            explain=stalls.explain,
            code=self.code,
            borrow_credentials=self.borrow_credentials,
        )


@contextmanager
def ray_backend(
    address: str | None = None, *, concurrency: int | None = None, code: Sequence[OwnFile] = ()
) -> Iterator[Backend]:
    """Connect to Ray for the length of a block: see ``BackendChoice``.

    Raises:
        ClusterError: there is no Ray at the address.
        ConfigError: a machine of the cluster cannot run a file of the user's own.
    """
    try:
        with tune_environment(), ray_session(address) as session:
            _check_code(session.hosts, code)
            yield RayBackend(
                session=session,
                concurrency=concurrency,
                code=code,
                gpu_pool=RayGpus(code),
                borrow_credentials=session.borrow_credentials,
            )
    except NoClusterError as error:
        raise ClusterError(f"{error}; check --address and RAY_ADDRESS, or use --address local") from error
    except (NoPrivateFolderError, HiddenPackageError) as error:
        raise ClusterError(str(error)) from error


def _check_code(hosts: int, code: Sequence[OwnFile]) -> None:
    """Have each machine for trials run the files of the user's own once, lest each trial there finds out by itself.

    Machines that are started later are not asked, nor this one, where the settings were checked by running the files.

    Raises:
        ConfigError: one of them cannot, as it lacks a package for example.
    """
    if not code or hosts < 2:
        return
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
    asked = {run_on_node(node["NodeID"], _run_files, code): node["NodeManagerHostname"] for node in nodes}
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_RUN_SECONDS)
    for answer in answered:
        try:
            wrong = ray.get(answer)
        except ray.exceptions.RayError:
            continue  # it has just gone, and takes no trial
        if wrong:
            raise ConfigError(f"on {asked[answer]}, a machine of the cluster: {wrong}")


def _run_files(code: Sequence[OwnFile]) -> str:
    """Run files on this machine, and return why one cannot be; empty if all can."""
    hold(code)
    for file in code:
        try:
            run_file(file.name)
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            return f"{file.name} fails: {why_it_fails(error, file.name)}"
    return ""
