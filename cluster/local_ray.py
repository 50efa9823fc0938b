"""A Ray of our own on this machine, for one sweep and one user: on loopback, behind a token, in a private folder.

Ray runs the code of whoever reaches its ports. So a session listens on 127.0.0.1 alone, and even there asks for a token
that is made for it, since a machine can have several users. The token is in the environment of the session's processes and
nowhere else: on no command line, in no file and no log.
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
"""Shared memory of a local session: a data set's images and a teacher, with room to spare."""


@contextmanager
def local_ray(
    folder: Path, *, cpus: int, gpus: int | None = None, object_store_bytes: int = OBJECT_STORE_BYTES
) -> Iterator[None]:
    """Run Ray on this machine for the length of a block, with this process connected to it.

    Args:
        folder: Private folder of the session; Ray's own folder is made in it, since Ray opens that to everybody.
        cpus: CPU cores that trials may use.
        gpus: GPUs that trials may use; None: those that Ray finds.
        object_store_bytes: Shared memory for objects.
    """
    # Ray reads its settings when it is imported, and ray_session makes them.
    import ray

    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Makes 127.0.0.1 the node's address, also for processes that import Ray later.
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
    """Have Ray take 127.0.0.1 for this machine's address, whatever it read from the environment when it was imported.

    ``_node_ip_address="127.0.0.1"`` would not do: Ray replaces a loopback address by the one that others can reach.
    """
    # Ray reads its settings when it is imported, and ray_session makes them.
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
