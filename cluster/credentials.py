"""Storage credentials from the driver's environment, lent to the processes that run trials.

Ray could pass credentials on in a runtime environment, but writes runtime environments in plain text into logs that every
user of a node can read. Instead, an actor of the session keeps the credentials in memory and hands them to the other
processes, so that they are never written to a disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Environment variables with storage credentials; there are credentials if the first of these variables is set."""

SECRET_VARIABLES = frozenset({*KEYS, "AWS_SECURITY_TOKEN"})
"""Environment variables that must not be put into Ray's runtime environments."""

_OWN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Environment variables by which a node names credentials of its own."""


class _Keeper:
    """Actor that keeps credentials in memory. A method passes them, since Ray stores the arguments of constructors."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def keep(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)

    def tell(self) -> dict[str, str]:
        return self._keys


def no_credentials() -> None:
    """Borrow nothing; for sessions without credentials to lend, or whose processes all have the driver's environment."""


def lend_credentials() -> Callable[[], None]:
    """Return a function that copies this process's storage credentials into the environment of the process that calls it.

    Workers call the function before they use storage. A process whose environment already names credentials keeps those.
    The driver's credentials take precedence over a role of the machine, since the user supplied them for this sweep.
    """
    # Imported late, since ray_session sets the environment variables that Ray reads on import.
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
