"""A sweep on a storage: the folders of its objects, and its lock. Imports neither torch nor Optuna nor pyarrow.

Other packages need only this pair of storage and sweep id: ``results`` reads and writes the sweep's rows, ``search`` opens
its study, ``trainables.storage`` keeps its checkpoints.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.storage import layout
from orchestrator.storage.address import local_path
from orchestrator.storage.lock import file_lock, lock_in_cache
from trainables.storage.object_store import ObjectStore


@dataclass(frozen=True)
class SweepStore:
    """A storage and the id of one sweep on it. Creating a SweepStore does no I/O, so the sweep need not exist yet."""

    storage: ObjectStore
    """The whole storage, which also holds other sweeps and the objects that all sweeps share."""

    sweep_id: str

    def sibling(self, sweep_id: str) -> SweepStore:
        """Return another sweep of the same storage."""
        return replace(self, sweep_id=sweep_id)

    def confirming(self) -> SweepStore:
        """Return the sweep that confirms this search."""
        return self.sibling(layout.confirming_sweep(self.sweep_id))

    def with_patience(self, seconds: float) -> SweepStore:
        """Return the same sweep on a storage that retries each request for ``seconds`` seconds."""
        return replace(self, storage=replace(self.storage, patience=seconds))

    def table_folder(self, table: layout.Table) -> str:
        """Return the folder of this sweep's rows of a table."""
        return layout.sweep_folder(table, self.sweep_id)

    @property
    def study(self) -> ObjectStore:
        """The folder of the sweep's Optuna study."""
        return self.storage.below(layout.study_folder(self.sweep_id))

    @property
    def code(self) -> ObjectStore:
        """The folder of the copies of the user's own files that the sweep runs."""
        return self.storage.below(layout.code_folder(self.sweep_id))

    @property
    def checkpoints(self) -> ObjectStore:
        """The folder of the checkpoints of the sweep's trials."""
        return self.storage.below(layout.checkpoint_folder(self.sweep_id))

    @property
    def students(self) -> ObjectStore:
        """The folder of the students of all sweeps, shared because a trial may start from another sweep's student."""
        return self.storage.below(layout.STUDENTS)

    @property
    def transition_curves(self) -> ObjectStore:
        """The folder of the trials' transition curves."""
        return self.storage.below(self.table_folder("transition_curves"))

    @property
    def snapshots(self) -> ObjectStore:
        """The folder of pictures of pseudo images."""
        return self.storage.below(self.table_folder("snapshots"))

    @property
    def report_page(self) -> str:
        """The key of the sweep's report page."""
        return layout.report_page(self.sweep_id)

    @property
    def tensorboard_folder(self) -> Path:
        """The folder of TensorBoard's files; below the working folder if the storage is not a local folder."""
        folder = layout.tensorboard_folder(self.sweep_id)
        return local_path(self.storage, folder) or Path(folder)

    def lock(self) -> AbstractContextManager[None]:
        """Lock the sweep for the length of a block; the operating system releases the lock however the process ends.

        The lock file of a sweep on a local disk lies in its study's folder. An object cannot be locked, so the lock of a
        sweep in an object store lies in the user's cache on this machine: a second ``ray submit`` to the same head is
        refused, but a driver on another machine, or of another user, is not, and must not be started.

        Raises:
            SweepBusyError: another process holds the lock.
        """
        path = local_path(self.study, "driver.lock")
        if path is None:
            return lock_in_cache(self._identity, self.sweep_id)
        return file_lock(path, self.sweep_id)

    @property
    def _identity(self) -> str:
        """Text that is equal for equal sweeps, however the address of their storage was written."""
        from trainables.storage.filesystems.s3 import S3Filesystem  # imports boto3, which a local folder does not need

        filesystem = self.storage.filesystem
        service = filesystem.endpoint if isinstance(filesystem, S3Filesystem) else None
        return f"{service or ''} {self.storage.shown(self.sweep_id)}"
