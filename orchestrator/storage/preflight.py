"""Whether a storage can be used, found out before anything is computed."""

from __future__ import annotations

import uuid
from dataclasses import replace

from orchestrator.config.blocks import StorageConfig
from orchestrator.errors import StorageError
from orchestrator.storage.address import PREFLIGHT_PATIENCE, checked_config, find_storage, shown
from orchestrator.storage.layout import PROBE
from trainables.storage.object_store import ObjectStore


def open_storage(storage: StorageConfig | str) -> ObjectStore:
    """Open a folder, ``s3://...`` or ``gs://...``, and find out now whether all that a sweep does is possible there.

    A folder is made if need be. Nothing stays of what is written to find out.

    Raises:
        StorageError: the place cannot be used; the message says why, and which right or setting is missing.
    """
    config = checked_config(storage)
    store = find_storage(config)
    if config.address.scheme == "s3":
        from orchestrator.storage.bucket import check_bucket  # brings boto3: 0.3 s that only an S3 address is worth

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
        raise StorageError(f"storage {shown(config)} does not give back what was written")
    return store
