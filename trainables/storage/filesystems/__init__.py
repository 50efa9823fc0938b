"""Filesystems of the object store: local disks, S3-compatible buckets, and other filesystems of pyarrow.

The filesystems of buckets are imported from their own modules when needed, since ``s3`` imports boto3 and ``arrow`` pyarrow.
"""

from __future__ import annotations

from trainables.storage.filesystems.base import Filesystem, PassingError
from trainables.storage.filesystems.local import LocalFilesystem

__all__ = ["Filesystem", "LocalFilesystem", "PassingError"]
