from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.support.tiny import make_images
from trainables.config.datasets import find_normalisation
from trainables.evaluation import accuracy
from trainables.images.splits import ImageSet
from trainables.networks import Network, build_network


class Constant(Network):
    """Always answers 3."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return nn.functional.one_hot(torch.full((len(images),), 3), 10).float(), []


def test_share_of_right_answers() -> None:
    assert accuracy(Constant(), make_images(70), find_normalisation("digits")) == pytest.approx(0.1)
    assert accuracy(Constant(), make_images(135), find_normalisation("digits")) == pytest.approx(14 / 135)


@pytest.mark.parametrize("training", [True, False])
def test_the_networks_mode_and_statistics_are_as_before(training: bool) -> None:
    network = build_network("wrn-10-1", num_classes=10, channels=1).train(training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    accuracy(network, make_images(5), find_normalisation("digits"))
    assert network.training is training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_running_statistics_are_used_whatever_the_mode() -> None:
    torch.manual_seed(0)
    network = build_network("wrn-10-1", num_classes=10, channels=1)
    data = make_images(30)
    assert accuracy(network.train(), data, find_normalisation("digits")) == accuracy(
        network.eval(), data, find_normalisation("digits")
    )


def test_no_images_is_an_error() -> None:
    empty = ImageSet(images=torch.zeros(0, 1, 32, 32, dtype=torch.uint8), labels=torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="at least one"):
        accuracy(Constant(), empty, find_normalisation("digits"))
