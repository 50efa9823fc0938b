"""Which normalisation a teacher expects is told by gains that chance does not explain."""

from __future__ import annotations

import pytest
import torch

from trainables.teachers.normalisations import noticeably_better


@pytest.mark.parametrize(
    ("images", "both", "only_first", "only_other", "better"),
    [
        (1000, 900, 21, 0, True),
        (1000, 900, 20, 0, False),
        (1000, 500, 300, 279, True),
        (40, 30, 1, 0, False),
        (40, 30, 6, 0, False),
        (40, 30, 7, 0, True),
        (40, 20, 9, 3, False),
        (40, 0, 0, 0, False),
    ],
    ids=[
        "of many images 2.1 points count",
        "2 points do not",
        "whichever images they are",
        "of few not a single image",
        "nor six, which happens by chance in 1 of 64",
        "but seven, 1 in 128",
        "images lost weigh against those won",
        "nothing right at all",
    ],
)
def test_a_gain_counts_if_chance_does_not_explain_it(
    images: int, both: int, only_first: int, only_other: int, better: bool
) -> None:
    first, other = torch.zeros(images, dtype=torch.bool), torch.zeros(images, dtype=torch.bool)
    first[:both] = other[:both] = True
    first[both : both + only_first] = True
    other[both + only_first : both + only_first + only_other] = True
    assert noticeably_better(first, other) == better
    assert not noticeably_better(other, first)
