"""Named bytes on any pyarrow filesystem, each object published whole or not at all.

Everything the project keeps (teachers, checkpoints, results, studies) goes through these few methods, so that a local
folder and a bucket have the same layout and the same promises.
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass

from pyarrow import fs


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """A folder of a filesystem. Keys are paths below it, with ``/`` between parts and no leading ``/``.

    Can be pickled, so a worker writes to the same place as the driver.
    """

    filesystem: fs.FileSystem
    root: str

    def below(self, prefix: str) -> ObjectStore:
        """The store whose root is ``prefix`` in this one."""
        return ObjectStore(filesystem=self.filesystem, root=f"{self.root}/{prefix}")

    def path(self, key: str) -> str:
        """Where an object lies, for the filesystem."""
        return f"{self.root}/{key}"

    def write(self, key: str, data: bytes) -> None:
        """Publish an object, replacing an older one under the same key.

        A reader sees the old object, the new one or none, never a part: an object store publishes at the end of an
        upload; on a local disk the file is written under another name and renamed.
        """
        path = self.path(key)
        if not isinstance(self.filesystem, fs.LocalFileSystem):
            with self.filesystem.open_output_stream(path) as stream:
                stream.write(data)
            return
        # Beside the target, so that the rename stays on one disk; the dot hides it from readers that list the folder.
        folder, _, name = path.rpartition("/")
        partial = f"{folder}/.{name}.{uuid.uuid4().hex}"
        self.filesystem.create_dir(folder, recursive=True)
        try:
            with self.filesystem.open_output_stream(partial) as stream:
                stream.write(data)
            self.filesystem.move(partial, path)
        except BaseException:
            if self.filesystem.get_file_info(partial).type is not fs.FileType.NotFound:
                self.filesystem.delete_file(partial)
            raise

    def read(self, key: str) -> bytes:
        """The object's bytes.

        Raises:
            FileNotFoundError: no such object.
        """
        with self.filesystem.open_input_file(self.path(key)) as stream:
            data: bytes = stream.read()
        return data

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self.filesystem.get_file_info(self.path(key)).type is fs.FileType.File

    def keys(self, prefix: str) -> list[str]:
        """Keys of all objects below ``prefix``, sorted; empty where there is nothing."""
        selector = fs.FileSelector(self.path(prefix), recursive=True, allow_not_found=True)
        files = (info for info in self.filesystem.get_file_info(selector) if info.type is fs.FileType.File)
        return sorted(info.path[len(self.root) + 1 :] for info in files if not info.base_name.startswith("."))

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(key))
