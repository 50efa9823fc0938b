"""Where bytes can lie: this machine's disk, a bucket that speaks S3, and what else pyarrow opens.

A bucket's filesystem is imported from its own module, where one is met: ``s3`` brings boto3, ``arrow`` pyarrow.
"""

from __future__ import annotations

from trainables.storage.filesystems.base import Filesystem, PassingError
from trainables.storage.filesystems.local import LocalFilesystem

__all__ = ["Filesystem", "LocalFilesystem", "PassingError"]
