"""Where bytes can lie: this machine's disk, a bucket that speaks S3, and what else pyarrow opens."""

from __future__ import annotations

from trainables.filesystems.arrow import ArrowFilesystem
from trainables.filesystems.base import Filesystem, PassingError
from trainables.filesystems.local import LocalFilesystem
from trainables.filesystems.s3 import S3Filesystem

__all__ = ["ArrowFilesystem", "Filesystem", "LocalFilesystem", "PassingError", "S3Filesystem"]
