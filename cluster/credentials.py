"""Keys to storage that only the driver's environment has, lent to the processes that trials run in.

Ray would hand them on as a runtime environment, and writes those in clear into logs that everybody on a node can read. Here
a process of the session keeps them in its memory and answers the others, so that they are on no disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Environment variables with keys; the first of them tells whether there are any."""

SECRET_VARIABLES = frozenset({*KEYS, "AWS_SECURITY_TOKEN"})
"""Environment variables that may not go through Ray's runtime environments."""

_OWN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Environment variables by which a node names credentials of its own."""


class _Keeper:
    """Actor that keeps the keys in memory. They come by a call and not by its constructor, whose arguments Ray keeps."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def keep(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)

    def tell(self) -> dict[str, str]:
        return self._keys


def no_credentials() -> None:
    """Borrow nothing: every process has what it needs, or nobody has."""


def lend_credentials() -> Callable[[], None]:
    """Make a function that gives its process the keys in this process's environment.

    It is to be called before storage is used. A process whose node names credentials of its own in its environment keeps
    those; the driver's come before a role of the machine, as they were given for this sweep.
    """
    # Ray reads its settings when it is imported, and ray_session makes them.
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    keys = {name: os.environ[name] for name in KEYS if name in os.environ}
    if KEYS[0] not in keys:
        return no_credentials
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper = ray.remote(num_cpus=0)(_Keeper).options(scheduling_strategy=here).remote()
    ray.get(keeper.keep.remote(keys))

    def borrow(keeper: Any = keeper) -> None:
        if not any(os.environ.get(name) for name in _OWN):
            os.environ.update(ray.get(keeper.tell.remote()))

    return borrow
