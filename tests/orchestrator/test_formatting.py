"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from orchestrator.formatting import mean_and_deviation, short


@pytest.mark.parametrize(
    ("values", "deviation", "text"),
    [
        ([], None, ""),
        ([0.5], None, "0.500"),
        ([1.0, 2.0], None, "1.500 ± 0.500"),
        ([1.0, 2.0], ".1g", "1.500 ± 0.5"),
    ],
)
def test_a_mean_has_its_population_deviation_beside_it(values: list[float], deviation: str | None, text: str) -> None:
    assert mean_and_deviation(values, ".3f", deviation) == text


def test_floats_are_cut_and_what_is_missing_has_its_own_word() -> None:
    assert [short(value) for value in (0.123456, 1234567, "pbt", None)] == ["0.1235", "1234567", "pbt", ""]
    assert [short(value, digits=3, missing="None") for value in (0.123456, None)] == ["0.123", "None"]
