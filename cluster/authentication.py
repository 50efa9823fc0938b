"""Ray's token authentication: whoever reaches a cluster's ports without its token may do nothing there.

Ray reads the settings from the environment once, when it is imported, which may be long before a session begins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_MODE = "RAY_AUTH_MODE"


@contextmanager
def ray_environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a block, in which Ray obeys what they say of authentication."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    _read_again()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _read_again()


@contextmanager
def token_of_cluster() -> Iterator[None]:
    """Use the token that this machine has for clusters (``~/.ray/auth_token``, ``RAY_AUTH_TOKEN``), if it has one.

    Ray by itself uses it only for clusters that it finds without an address. ``RAY_AUTH_MODE`` says otherwise.
    """
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled; as ray.init does

    _read_again()
    has_token = AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    with ray_environment({_MODE: os.environ.get(_MODE, "token")} if has_token else {}):
        yield


def is_refused(address: str) -> bool:
    """Whether a cluster asks for another token than this process shows.

    Args:
        address: ``host:port`` of a cluster's head, which answers.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.exceptions import AuthenticationError

    try:
        GcsClient(address=address)
    except AuthenticationError:
        return True
    except Exception:  # whatever else is wrong, ray.init says it better
        return False
    return False


def _read_again() -> None:
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
