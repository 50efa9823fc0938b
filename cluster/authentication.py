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
def token_of_cluster(address: str) -> Iterator[None]:
    """Show a cluster this machine's token (``RAY_AUTH_TOKEN``, ``~/.ray/auth_token``) for a block, if it asks for one.

    To a cluster that asks for none it is not shown: this process would then ask the cluster's for it, which have none.
    ``RAY_AUTH_MODE`` says otherwise, and so does Ray where the address is ``ray://``.

    Args:
        address: ``host:port`` of a cluster's head, which answers.
    """
    if os.environ.get(_MODE) or address.startswith("ray://"):
        yield
        return
    with ray_environment({_MODE: "disabled"}):
        asks = is_refused(address)
        shown = asks and _has_token()
    with ray_environment({_MODE: "token"} if shown else {}):
        yield


def is_refused(address: str) -> bool:
    """Whether a cluster asks for another token than this process shows.

    Args:
        address: ``host:port`` of a cluster's head, which answers.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.exceptions import AuthenticationError, RayError

    if os.environ.get(_MODE, "").lower() == "token" and not _has_token():
        return True  # Ray would end this process
    try:
        GcsClient(address=address)
    except AuthenticationError:
        return True
    except (RayError, OSError):  # ray.init says better what else is wrong
        return False
    return False


def _has_token() -> bool:
    """Whether this machine has a token for clusters."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled
    from ray.exceptions import AuthenticationError

    try:
        return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))
    except AuthenticationError:  # RAY_AUTH_TOKEN_PATH names no file
        return False


def _read_again() -> None:
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled; as ray.init does

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
