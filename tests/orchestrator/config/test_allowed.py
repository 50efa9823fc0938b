from __future__ import annotations

import pytest

from orchestrator.config.messages import allowed_values
from trainables.config import ZeroShotConfig


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("temperature", "a number > 0"),
        ("generator_steps", "a whole number >= 1"),
        ("generator_width", "a whole number >= 2, a multiple of 2"),
        ("validation_fraction", "a number >= 0, < 1"),
        ("learning_rate_horizon", "a whole number >= 1 or none"),
        ("seed", "a whole number >= 0, < 2^63"),
    ],
)
def test_allowed_values_in_words(field: str, words: str) -> None:
    assert allowed_values(ZeroShotConfig, field) == words
