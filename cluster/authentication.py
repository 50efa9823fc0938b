"""Ray's token authentication: a cluster refuses all requests without its token.

Ray reads the settings from the environment once, when it is imported. That may be long before a session begins, so this
module makes Ray read them again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_MODE = "RAY_AUTH_MODE"


@contextmanager
def ray_environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a block, and make Ray apply their authentication settings."""
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
    """Send this machine's token (``RAY_AUTH_TOKEN``, ``~/.ray/auth_token``) for a block, if the cluster requires a token.

    With a cluster that requires none, token mode stays off: in token mode this process would require the token of the
    cluster's processes as well, which have none. If ``RAY_AUTH_MODE`` is set, or the address begins with ``ray://``,
    nothing is changed.

    Args:
        address: ``host:port`` of a cluster's head that is known to answer.
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
    """Return whether a cluster refuses this process because its token is missing or wrong.

    Args:
        address: ``host:port`` of a cluster's head that is known to answer.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.exceptions import AuthenticationError, RayError

    if os.environ.get(_MODE, "").lower() == "token" and not _has_token():
        return True  # GcsClient would terminate this process
    try:
        GcsClient(address=address)
    except AuthenticationError:
        return True
    except (RayError, OSError):  # ray.init reports other failures better
        return False
    return False


def _has_token() -> bool:
    """Return whether this machine has a token for clusters."""
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
