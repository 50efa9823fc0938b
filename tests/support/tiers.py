"""Tiers of the suite: ``make quick`` runs ``-m quick``, ``make test`` runs ``-m 'not full'``, ``make test-all`` everything.

A test is in a tier by what it uses and by the marks that it carries:

- ``full``: what runs in ``make test-all`` alone, by the mark or because it needs Ceph (``s3``).
- ``quick``: every test that carries none of ``full``, ``slow``, ``ray`` and ``own_processes`` and starts no server.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

_NOT_QUICK = ("full", "slow", "ray", "own_processes")

_SERVERS = {"moto", "ceph", "google", "proxy", "ray_local"}
"""Fixtures that start a server, and parameters that name one of them."""

QUICK_SECONDS = 20
"""Timeout of a quick test: it takes less than a second on an idle machine, and machines are not always idle."""

counted = pytest.StashKey[tuple[int, int]]()
"""Number of quick tests and of all tests that were collected, before any was deselected."""


def mark_tiers(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Mark each test with the tiers that its own marks and fixtures imply."""
    quick = 0
    for item in items:
        if item.get_closest_marker("s3"):
            item.add_marker("full")
        if not any(item.get_closest_marker(mark) for mark in _NOT_QUICK) and not _starts_a_server(item):
            quick += 1
            item.add_marker("quick")
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(QUICK_SECONDS))
    config.stash[counted] = quick, len(items)


def _starts_a_server(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    named = {value for value in values if isinstance(value, str)}
    return not _SERVERS.isdisjoint({*item.fixturenames, *named})
