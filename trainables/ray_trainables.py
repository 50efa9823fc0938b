"""Ray Tune's view of a trial. Thin: what a trial does is in ``distiller.py`` and ``supervised.py``.

Checkpoints go to a store of the project's own (``checkpoint.CheckpointStore``), found again by the trial's id, instead
of through Tune. Tune's are tied to one ``Tuner``, and a restored Tuner can neither be extended nor trusted with the
state of searcher and scheduler. So a trial continues in the same way after a lost worker, a lost driver, or when the
sweep is started again next week: ``setup`` looks for its newest checkpoint. ``save_checkpoint`` and
``load_checkpoint`` are there for whoever uses the class with Tune alone.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import torch
from ray.tune import Trainable
from ray.tune.result import DONE

from trainables.compute.devices import claim_device, device_name
from trainables.compute.precision import check_precision
from trainables.config import ZeroShotConfig, config_class
from trainables.errors import CheckpointError
from trainables.health import warnings
from trainables.heartbeat import Heartbeat
from trainables.storage import checkpoint
from trainables.storage.checkpoint import CheckpointSaver
from trainables.training.distiller import ZeroShotDistiller
from trainables.training.image_snapshots import is_due, take_snapshot
from trainables.training.protocol import Report, Training
from trainables.trial import TrialInputs, TrialStorage, build_training, transition_metrics

NOTES = "notes"
"""Key of a result under which a trial says what the user should know, as a list of sentences."""

MACHINE_NOTES = "machine_notes"
"""The same for what is the machine's and not the trial's: worth saying once for each machine."""

FAILURE = "failure"
"""Key of a result that says why the trial has failed for good, as ``Kind: message``."""

OUT_OF_MEMORY = "out_of_memory"
"""Key of a result with a ``FAILURE``: whether it is that the trial's share of a GPU has too little memory."""

GPUS = "gpus"
"""Key of a trial's ``config`` under which it has another share of a GPU than the sweep's other trials."""

NOT_SETTINGS = frozenset({"trial_id", "case", GPUS})
"""Keys of ``config`` that are no fields of the trial's config."""

DEVICE_NAME = "device_name"
"""Key of a result, and of a trial's checkpoint, under which the GPU or CPU is named that made it."""

HOLD = "hold"
"""Key of a result under which a trial's process says what it holds, as the fields of ``Hold``."""

_FILE = "trial.safetensors"

SECONDS_WHEN_LEAVING = 5.0
"""Between two checkpoints on a machine that is about to be taken away."""

_MAY_PASS = (OSError, pa.ArrowException, torch.AcceleratorError)
"""Errors of storage and devices: tried again from the last checkpoint. All others would come again; but too little memory
may be enough with a larger share of the GPU, of which the driver decides."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """The share of a node that was set aside for a trial's process, and for how long so far."""

    node_id: str
    """Ray's id of the node; empty without Ray."""

    cpus: float
    gpus: float
    seconds: float


class TrialTrainable(Trainable):
    """A trial of any method that Tune can start, step, stop and whose process it can use for the next one.

    ``config`` is a flat dict: ``trial_id``, perhaps ``case`` and ``gpus``, and the fields of the config that its ``method``
    names.
    Each ``step`` trains up to the next report and returns it.
    """

    training: Training | None = None
    _saver: CheckpointSaver | None = None
    _failure: str | None = None
    _out_of_memory = False

    def setup(
        self,
        config: dict[str, Any],
        inputs: TrialInputs | None = None,
        storage: TrialStorage | None = None,
        *,
        checkpoint_seconds: float = 60.0,
        leaving: Callable[[], bool] = lambda: False,
        draining: Callable[[], bool] = lambda: False,
        borrow_credentials: Callable[[], None] = lambda: None,
    ) -> None:
        """Build the trial, or continue it from its newest checkpoint.

        What is wrong with it for good is not raised, or Tune would try it again, but said by the first ``step``.

        Args:
            config: See the class.
            inputs: Teachers and images, through ``tune.with_parameters``.
            storage: Where the sweep's checkpoints, students and curves are; none: keep none.
            checkpoint_seconds: Wall time between two checkpoints, in seconds; 0: one at each report.
            leaving: Whether this machine is about to be taken away.
            draining: Whether Ray would place the trial elsewhere if it left.
            borrow_credentials: Called first: takes over the driver's keys to storage where this process has none.

        Raises:
            OSError, pyarrow.ArrowException, torch.AcceleratorError: what may pass.
        """
        if inputs is None:
            raise ValueError("TrialTrainable needs its inputs: tune.with_parameters(TrialTrainable, inputs=...)")
        borrow_credentials()
        self._leaving = leaving
        self._draining = draining
        self._began_at = time.monotonic()
        with self._failing_for_good():
            self._begin(config, inputs, storage, checkpoint_seconds)

    def _begin(
        self, config: dict[str, Any], inputs: TrialInputs, storage: TrialStorage | None, checkpoint_seconds: float
    ) -> None:
        self._key = config["trial_id"]
        settings = {name: value for name, value in config.items() if name not in NOT_SETTINGS}
        self._inputs = inputs
        self._trial_storage = storage  # Tune has a _storage of its own
        self._checkpoint_seconds = checkpoint_seconds
        cpus, gpus = self._resources
        device = claim_device(cpus=cpus, gpus=gpus)
        self._notes: list[str] = []
        self._machine_notes: list[str] = []
        self._warned: set[str] = set()
        if gpus > 0 and device.type == "cpu":
            self._machine_notes.append("a GPU was set aside, but torch finds none: trials run on the CPU, slowly")
        self._config = config_class(settings).model_validate(settings)
        check_precision(self._config, device)
        self.training = build_training(self._config, inputs, storage, device)
        self._heartbeat = Heartbeat(self._key)
        self._saver = CheckpointSaver(storage.checkpoints, self._key) if storage else None
        state = storage.checkpoints.load_newest(self._key, warn=self._notes.append) if storage else None
        if state:
            self.training.load_state_dict(state)
            self._compare_devices(state)
        elif isinstance(self._config, ZeroShotConfig) and self._config.initial_trial:
            self._inherit(self._config.initial_trial)
        self._machine_notes += self.training.notes
        # The driver may have died before it kept the report that came with this checkpoint, so it is made again.
        self._report_again = state is not None
        self._saved_at = time.monotonic()

    def step(self) -> dict[str, Any]:
        """Train up to the next report, saving on the way when it is time, and after the last one.

        A trial that has failed for good says so under ``FAILURE`` and is done.
        """
        with self._failing_for_good():
            if self._failure is None:
                return self._report() | {HOLD: self._hold()}
        failure = {FAILURE: self._failure, OUT_OF_MEMORY: self._out_of_memory, DONE: True, HOLD: self._hold()}
        if self._out_of_memory:
            self.cleanup()  # others on this GPU need what it held, and this process may wait for its next trial
        return failure

    def _hold(self) -> dict[str, Any]:
        node_id = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
        cpus, gpus = self._resources
        return asdict(Hold(node_id=node_id, cpus=cpus, gpus=gpus, seconds=time.monotonic() - self._began_at))

    @property
    def _resources(self) -> tuple[float, float]:
        """CPU cores and GPUs that were set aside."""
        resources = self.trial_resources.required_resources if self.trial_resources else {}
        return resources.get("CPU", 1), resources.get("GPU", 0)

    @contextmanager
    def _failing_for_good(self) -> Iterator[None]:
        try:
            yield
        except _MAY_PASS:
            raise
        except torch.OutOfMemoryError as error:
            self._failure = f"OutOfMemoryError: {str(error).partition('. ')[0]}"
            self._out_of_memory = True
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"

    def _report(self) -> dict[str, Any]:
        training = self._training
        if self._report_again and training.last_report is not None:
            report = training.last_report
        else:
            try:
                report = training.advance(after_each=self._after_each)
            finally:
                self._heartbeat.stop()
            self._look_at_images(report)
            if training.finished:
                self._finish(report)
            if training.finished or self._checkpoint_seconds == 0:
                self._save()
                self._wait_for_checkpoint()
        self._report_again = False
        # A checkpoint taken right before the last report is finished, but that report is still owed.
        finished = training.finished and (bool(report["diverged"]) or report[self._config.unit] == training.done)
        self._look_for_trouble(report)
        notes, self._notes = self._notes, []
        machine_notes, self._machine_notes = self._machine_notes, []
        return {
            **report,
            DONE: finished,
            "device": training.device.type,
            DEVICE_NAME: device_name(training.device),
            "threads": torch.get_num_threads(),
            "compiled": training.compiled,
            NOTES: notes,
            MACHINE_NOTES: machine_notes,
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in this process, as a new process would: nothing of the last one remains."""
        previous = self._key
        self.cleanup()
        unread = [f"{note} (said by {previous})" for note in self._notes]
        self.config = new_config
        self.setup(new_config)
        self._notes = unread + self._notes
        return True

    def cleanup(self) -> None:
        """Let go of the networks and their GPU memory, once the last checkpoint is written."""
        try:
            self._wait_for_checkpoint()
        finally:
            if self._saver:
                self._saver.close()
            self.training = self._saver = self._failure = None
            self._out_of_memory = False
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trial's state into a folder of Tune's; nothing of one that has failed before it began."""
        if self.training is not None:
            Path(checkpoint_dir, _FILE).write_bytes(checkpoint.dump(self._state()))

    def load_checkpoint(self, checkpoint_dir: str | Mapping[str, Any] | None) -> None:
        """Continue from a folder that ``save_checkpoint`` wrote."""
        path = Path(str(checkpoint_dir), _FILE)
        self._training.load_state_dict(checkpoint.parse(path.read_bytes(), origin=str(path)))

    @property
    def _training(self) -> Training:
        assert self.training is not None  # setup ran, cleanup did not
        return self.training

    def _finish(self, report: Report) -> None:
        """What is done once, with the student that has come out. The report is what the checkpoint will hold."""
        training, storage = self._training, self._trial_storage
        if report["diverged"]:
            return
        if storage:
            self._keep("the student", lambda: storage.keep_student(self._key, training))
        if self._config.transition_images and training.teacher:
            self._measure_transitions(report)

    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return self._training.state_dict() | {DEVICE_NAME: device_name(self._training.device)}

    def _compare_devices(self, state: Mapping[str, Any]) -> None:
        """Say where another model of processor goes on than the one that came to the checkpoint; older ones name none."""
        here = device_name(self._training.device)
        before = state.get(DEVICE_NAME, here)
        if before != here and not self._training.finished:
            self._machine_notes.append(
                f"trials begun on {before} go on on {here}, which rounds otherwise: their numbers are not those of an "
                "undisturbed run"
            )

    def _look_at_images(self, report: Report) -> None:
        """Keep a few pictures of the generator, once every fifth of the budget."""
        training, storage = self._training, self._trial_storage
        if storage is None or storage.snapshots is None or report["diverged"]:
            return
        if isinstance(training, ZeroShotDistiller) and is_due(training.config, training.done):
            self._keep("pictures", lambda: storage.write_snapshot(self._key, take_snapshot(training)))

    def _measure_transitions(self, report: Report) -> None:
        storage = self._trial_storage
        try:
            curves, metrics = transition_metrics(self._training)
        except ValueError as error:  # a student that never agrees with its teacher; it is a result all the same
            self._notes.append(f"no transition curves: {error}")
            return
        report |= metrics
        if storage:
            self._keep("transition curves", lambda: storage.write_curves(self._key, curves))

    def _look_for_trouble(self, report: Report) -> None:
        teacher = self._inputs.teacher_of(self._config)
        recorded = teacher.metadata.test_accuracy if teacher else None
        found = warnings(self._config, report, recorded_teacher_accuracy=recorded)
        self._notes += [line for name, line in found.items() if name not in self._warned]
        self._warned |= found.keys()

    def _inherit(self, trial_id: str) -> None:
        training, storage = self.training, self._trial_storage
        assert isinstance(training, ZeroShotDistiller)  # as its config is
        state = storage.checkpoints.load_newest(trial_id, warn=self._notes.append) if storage else None
        if state is None:
            raise CheckpointError(
                f"initial_trial={trial_id}: this sweep has no checkpoint of it; only the sweep in which it ran can go on "
                "from there"
            )
        training.inherit(state)

    def _after_each(self) -> None:
        self._heartbeat.beat()
        self._save_if_due()

    def _save_if_due(self) -> None:
        seconds, leaving = self._checkpoint_seconds, self._leaving()
        if leaving:
            seconds = min(seconds or math.inf, SECONDS_WHEN_LEAVING)
        due = seconds and time.monotonic() - self._saved_at >= seconds
        # Where the last one still waits for storage, training goes on and the next one holds a later moment.
        if due and not (self._saver and self._saver.busy):
            self._save()
            if leaving and self._draining():
                self._leave()

    def _leave(self) -> None:
        """End this process once its checkpoint is written: the driver has the trial go on where Ray places it, not here.

        Were it to end the trial instead, Tune would keep the process and give it the next one.
        """
        saver = self._saver
        if saver is None:
            return
        try:
            saver.wait()
        except (OSError, pa.ArrowException) as error:
            self._notes.append(f"stays on a machine that is taken away, as nothing can be kept: {error}")
        else:
            ray.actor.exit_actor()

    def _save(self) -> None:
        saver, training = self._saver, self._training
        if saver:
            self._keep("a checkpoint", lambda: saver.save(training.done, self._state()))
        self._saved_at = time.monotonic()

    def _wait_for_checkpoint(self) -> None:
        if self._saver:
            self._keep("a checkpoint", self._saver.wait)

    def _keep(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, pa.ArrowException) as error:
            # Without it the trial is still right. The driver ends a sweep that cannot keep its results.
            self._notes.append(f"could not keep {what} by {self._training.done} {self._config.unit}: {error}")
