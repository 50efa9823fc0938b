"""Checks that a storage can be used before anything is computed."""

from __future__ import annotations

import uuid
from dataclasses import replace

from orchestrator.config.blocks import StorageConfig
from orchestrator.errors import StorageError
from orchestrator.storage.address import PREFLIGHT_PATIENCE, checked_config, find_storage, shown
from orchestrator.storage.layout import PROBE
from trainables.storage.object_store import ObjectStore


def open_storage(storage: StorageConfig | str) -> ObjectStore:
    """Open a folder, ``s3://...`` or ``gs://...``, and check that a sweep can write, read and delete objects there.

    A missing folder is created. The object written for the check is removed again.

    Raises:
        StorageError: the storage cannot be used; the message says why and, on S3, which permission or setting is missing.
    """
    config = checked_config(storage)
    store = find_storage(config)
    if config.address.scheme == "s3":
        from orchestrator.storage.bucket import check_bucket  # imports boto3 (0.3 s), needed for S3 only

        check_bucket(store, shown(config))
        return store
    probing = replace(store, patience=PREFLIGHT_PATIENCE)
    key = f"{PROBE}-{uuid.uuid4().hex}"
    try:
        probing.write(key, b"zskt")
        intact = probing.read(key) == b"zskt"
        probing.delete(key)
    except OSError as error:
        raise StorageError(f"storage {shown(config)} cannot be written to: {error}") from error
    if not intact:
        raise StorageError(f"storage {shown(config)} returns other bytes than were written")
    return store
