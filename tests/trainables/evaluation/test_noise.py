from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.config.datasets import find_normalisation
from trainables.evaluation import noise_predictions
from trainables.networks import Network, build_network

UNIT = find_normalisation("unit")


class Quarter(Network):
    """Which quarter of its range the first pixel is in; remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(255.0))
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        pixels = images * self.scale
        self.shown.append(pixels.detach())
        quarter = (pixels[:, 0, 0, 0].round() / 64).long()
        return nn.functional.one_hot(quarter, 4).float(), []


def test_counts_are_those_of_the_answers() -> None:
    network = Quarter()
    counts = noise_predictions(network, UNIT, channels=1, num_classes=4, images=300)
    assert counts.dtype == torch.int64
    answers = (torch.cat(network.shown)[:, 0, 0, 0].round() / 64).long()
    assert counts.tolist() == [int((answers == quarter).sum()) for quarter in range(4)]
    assert counts.sum() == 300
    assert counts.min() > 75 - 5 * 7.5  # five standard deviations of a quarter of 300


def test_pixels_are_integers_from_0_to_255_alike() -> None:
    network = Quarter()
    noise_predictions(network, UNIT, channels=3, num_classes=4, images=100)
    pixels = torch.cat(network.shown)
    assert pixels.shape == (100, 3, 32, 32)
    torch.testing.assert_close(pixels, pixels.round(), rtol=0, atol=1e-3)
    often = pixels.round().long().flatten().bincount()
    assert len(often) == 256
    assert (often - 1200).abs().max() < 5 * 1200**0.5


def test_images_are_normalised() -> None:
    plain, shifted = Quarter(), Quarter()
    noise_predictions(plain, UNIT, channels=1, num_classes=4, images=2)
    with pytest.raises(RuntimeError, match="non-negative"):  # one_hot of a negative quarter
        noise_predictions(shifted, find_normalisation("half"), channels=1, num_classes=4, images=2)
    torch.testing.assert_close(shifted.shown[0] / 255, (plain.shown[0] / 255 - 0.5) / 0.5)


def test_the_seed_chooses_the_images() -> None:
    def counts(seed: int) -> list[int]:
        return noise_predictions(Quarter(), UNIT, channels=1, num_classes=4, images=50, seed=seed).tolist()

    assert counts(0) == counts(0)
    assert counts(0) != counts(1)


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_statistics_are_as_before(training: bool) -> None:
    network = build_network("wrn-10-1", num_classes=10, channels=1).train(training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    noise_predictions(network, UNIT, channels=1, num_classes=10, images=3)
    assert network.training is training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "channels=0; allowed: at least 1"),
        ({"num_classes": 0}, "num_classes=0; allowed: at least 1"),
        ({"images": 0}, "images=0; allowed: at least 1"),
        ({"num_classes": 10}, "num_classes=10; allowed: 4"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise_predictions(Quarter(), UNIT, **({"channels": 1, "num_classes": 4, "images": 2} | arguments))
