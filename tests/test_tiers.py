"""What the tiers of the suite promise in CONTRIBUTING."""

from __future__ import annotations

import pytest

from tests.support.tiers import counted


def test_two_thirds_of_the_suite_are_quick(request: pytest.FixtureRequest) -> None:
    config = request.config
    if config.args != ["tests"]:
        pytest.skip("the share of quick tests (run the whole suite)")
    quick, total = config.stash[counted]
    assert 3 * quick >= 2 * total, f"{quick} of {total} tests are quick"
