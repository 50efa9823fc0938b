"""Where bytes can lie: this machine's disk, a bucket that speaks S3, and what else pyarrow opens."""

from __future__ import annotations

from trainables.storage.filesystems.arrow import ArrowFilesystem
from trainables.storage.filesystems.base import Filesystem, PassingError
from trainables.storage.filesystems.local import LocalFilesystem
from trainables.storage.filesystems.s3 import S3Filesystem

__all__ = ["ArrowFilesystem", "Filesystem", "LocalFilesystem", "PassingError", "S3Filesystem"]
