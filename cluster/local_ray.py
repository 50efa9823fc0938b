"""A private Ray on this machine, for one sweep and one user: on loopback, with a token, in a private folder.

Ray runs the code of anybody who can connect to its ports. A session therefore listens only on 127.0.0.1. Since a machine
can have several users, the session also requires a token that is generated for it. The token is stored only in the
environment of the session's processes: never on a command line, in a file or in a log.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.authentication import ray_environment
from cluster.private_folder import VARIABLE

OBJECT_STORE_BYTES = 512 * 2**20
"""Shared memory of a local session, in bytes: more than enough for a data set's images and a teacher."""


@contextmanager
def local_ray(
    folder: Path, *, cpus: int, gpus: int | None = None, object_store_bytes: int = OBJECT_STORE_BYTES
) -> Iterator[None]:
    """Run Ray on this machine for the length of a block, with this process connected to it.

    Args:
        folder: Private folder of the session. Ray's own folder is made inside it, since Ray makes that folder accessible to
            every user.
        cpus: CPU cores that trials may use.
        gpus: GPUs that trials may use. None means the GPUs that Ray finds.
        object_store_bytes: Shared memory for Ray's objects, in bytes.
    """
    # Imported late, since ray_session sets the environment variables that Ray reads on import.
    import ray

    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Makes 127.0.0.1 the node's address in processes that import Ray later.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        VARIABLE: str(folder),
    }
    with ray_environment(settings), _on_loopback():
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=object_store_bytes,
                _temp_dir=str(folder / "ray"),
            )
            yield
        finally:
            ray.shutdown()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Make Ray use 127.0.0.1 as this machine's address, whatever it read from the environment when it was imported.

    ``_node_ip_address="127.0.0.1"`` would not work: Ray replaces a loopback address by the machine's external address.
    """
    # Imported late, since ray_session sets the environment variables that Ray reads on import.
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
