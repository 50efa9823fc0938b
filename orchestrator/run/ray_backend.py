"""Backend that runs a session's tasks and trials on Ray: in the processes of a cluster, or on this machine alone."""

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
"""Seconds for which the driver waits for a node's answer whether the watchdog killed a process."""

_RUN_SECONDS = 60.0
"""Seconds that a node may take to run the user's own files once."""


def ask_node(node_id: str, pid: int, trial_id: str, seconds: float) -> Answer:
    """Ask a node to kill a trial's process if its last heartbeat is older than ``seconds``: see ``watchdog.Ask``.

    Args:
        node_id: Id of the node in Ray.
        pid: Id of the process.
        trial_id: Name of the trial that the process runs.
        seconds: Age of the heartbeat from which the process is killed.
    """
    asked = run_on_node(node_id, kill_if_stale, pid, trial_id, seconds)

    def answer() -> float | None:
        try:
            silent: float | None = ray.get(asked, timeout=_ANSWER_SECONDS)
        except (ray.exceptions.RayError, TimeoutError):
            return None
        return silent

    return answer


def own_places() -> int:
    """Count this job's placement groups with reserved resources; Tune creates one for each trial."""
    job = ray.get_runtime_context().get_job_id()
    groups = placement_group_table().values()
    # The id of a placement group ends with the id of the job that created the group.
    return sum(group["state"] == "CREATED" and group["placement_group_id"].endswith(job) for group in groups)


@dataclass(frozen=True, kw_only=True)
class RayTasks:
    """Runs tasks on any node with free resources: see ``TaskRunner``. Ray must be connected."""

    code: Sequence[OwnFile] = ()
    """The user's own files that tasks may run; they are sent along, since other machines do not have them."""

    borrow_credentials: Callable[[], None] = no_credentials
    """Function called in the process of a long task, which reads and writes storage: see ``RaySession``."""

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
        # Restarted here: Ray's own restarts work only while Ray keeps the images passed to it, and print red messages.
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
                raise error.cause from None  # the task's own error, without Ray's traceback
            except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
                lost = LOST_MACHINE in str(error)  # not the task's fault, as with trials
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
    """Ray actor in which a long task runs."""

    def __init__(
        self, start: Callable[[], LongTask[Any]], code: Sequence[OwnFile], borrow_credentials: Callable[[], None]
    ) -> None:
        self._start = start
        self._code = code
        self._borrow_credentials = borrow_credentials
        self._task: LongTask[Any] | None = None

    def advance(self) -> Mapping[str, Any]:
        if self._task is None:  # not in __init__: Ray takes an error there for the loss of the process
            self._borrow_credentials()
            hold(self._code)
            self._task = self._start()
        return self._task.advance()

    def describe(self) -> Any:
        assert self._task is not None  # called after the last report
        return self._task.describe()


@dataclass(frozen=True, kw_only=True)
class RayBackend(RayTasks):
    """A connection to Ray as a backend: see ``Backend``."""

    session: RaySession
    concurrency: int | None = None
    """Largest number of trials that run at once. None means as many as the machines hold."""

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
        """See ``Backend``. Trials that hang or find no resources are detected."""
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
        ClusterError: Ray cannot be reached at the address, or cannot be used.
        ConfigError: a node cannot run a file of the user's own.
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
    """Have each node run the user's own files once, so that errors appear before any trial starts there.

    Nodes that start later are not checked. Without other machines nothing is checked, since the check of the settings has
    run the files on this machine.

    Raises:
        ConfigError: a node cannot run a file, for example because a package is missing there.
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
            continue  # the node has just left the cluster
        if wrong:
            raise ConfigError(f"on {asked[answer]}, a machine of the cluster: {wrong}")


def _run_files(code: Sequence[OwnFile]) -> str:
    """Run files on this machine, and return why one of them fails; empty if all succeed."""
    hold(code)
    for file in code:
        try:
            run_file(file.name)
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            return f"{file.name} fails: {why_it_fails(error, file.name)}"
    return ""
