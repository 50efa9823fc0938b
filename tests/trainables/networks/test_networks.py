from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainables.config.network_names import check_network_name
from trainables.networks import build_network
from trainables.networks.generator import Generator, upsampled_convolution, upsampling_taps


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "num_classes", "parameters"),
    [
        ("wrn-16-1", 10, 175_066),
        ("wrn-16-2", 10, 691_674),
        ("wrn-40-1", 10, 563_930),
        ("wrn-40-2", 10, 2_243_546),
        ("wrn-16-1", 100, 180_916),
        ("wrn-16-2", 100, 703_284),
        ("wrn-40-1", 100, 569_780),
        ("wrn-40-2", 100, 2_255_156),
        ("lenet", 10, 62_006),
        ("resnet-18", 10, 11_173_962),
        ("resnet-34", 10, 21_282_122),
        ("resnet-34", 100, 21_328_292),
    ],
)
def test_published_parameter_counts(name: str, num_classes: int, parameters: int) -> None:
    assert count(build_network(name, num_classes=num_classes)) == parameters


def test_generator_has_the_published_parameter_count() -> None:
    assert count(Generator()) == 1_051_145


def test_wide_resnet_returns_the_residual_sums_of_its_three_groups() -> None:
    network = build_network("wrn-10-2", num_classes=10).eval()
    logits, activations = network(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert [tuple(a.shape[1:]) for a in activations] == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]
    # Raw sums take both signs; after a ReLU they could not.
    assert all((a < 0).any() for a in activations)


def test_identity_shortcut_takes_the_raw_input_and_a_widening_one_the_activated_input() -> None:
    block1 = build_network("wrn-16-1", num_classes=10).get_submodule("block1.layer.0")
    block2 = build_network("wrn-16-1", num_classes=10).get_submodule("block2.layer.0")
    for block, width in ((block1, 16), (block2, 16)):
        block.eval()
        nn.init.zeros_(block.get_parameter("conv2.weight"))  # the main path now adds nothing
        features = torch.randn(2, width, 8, 8)
        result = block(features)
        if block is block1:
            assert torch.equal(result, features)
        else:
            activated = torch.relu(block.get_submodule("bn1")(features))
            assert torch.equal(result, block.get_submodule("shortcut")(activated))


def test_lenet_activations_are_after_the_relu() -> None:
    _, activations = build_network("lenet", num_classes=10)(torch.randn(2, 3, 32, 32))
    assert [tuple(a.shape[1:]) for a in activations] == [(6, 28, 28), (16, 10, 10)]
    assert all((a >= 0).all() for a in activations)


def test_resnet_activations_are_what_its_groups_return() -> None:
    logits, activations = build_network("resnet-18", num_classes=10)(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert [tuple(a.shape[1:]) for a in activations] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert all((a >= 0).all() for a in activations)


def test_wide_resnet_initialisation_is_he_with_fan_out() -> None:
    torch.manual_seed(0)
    network = build_network("wrn-16-4", num_classes=10)
    weight = network.get_parameter("block2.layer.1.conv1.weight")  # 128 -> 128, 3x3
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)
    assert not network.get_parameter("fc.bias").any()


@pytest.mark.parametrize("module", [Generator(), build_network("wrn-16-1", num_classes=10)])
def test_batch_norm_momentum_is_the_published_tenth_everywhere(module: nn.Module) -> None:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert layers
    assert {(layer.momentum, layer.eps, layer.affine) for layer in layers} == {(0.1, 1e-5, True)}


def test_pseudo_images_start_with_mean_0_and_variance_1_and_are_unbounded() -> None:
    torch.manual_seed(0)
    images = Generator(width=8)(torch.randn(64, 100))
    assert images.shape == (64, 3, 32, 32)
    assert images.mean((0, 2, 3)).abs().max() < 1e-5
    assert (images.var((0, 2, 3), unbiased=False) - 1).abs().max() < 1e-3
    assert images.abs().max() > 1.5


@pytest.mark.parametrize("name", ["wrn-15-1", "wrn-16-0", "wrn-16", "resnet-20", "", "wrn-4-1", "lenet5"])
def test_unknown_names_are_refused_with_the_grammar(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown network .*wrn-D-K"):
        check_network_name(name)


@pytest.mark.parametrize("size", [(3, 4), (8, 8)])
def test_upsampling_and_convolution_fused_equal_one_after_the_other(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    conv = nn.Conv2d(3, 5, 3, padding=1, dtype=torch.float64)
    expected = conv(F.interpolate(features, scale_factor=2.0))
    fused = upsampled_convolution(features, conv.weight, conv.bias, upsampling_taps().double())
    assert torch.allclose(fused, expected, rtol=1e-12, atol=1e-12)
    inputs = (features, *conv.parameters())
    gradients, wanted = (torch.autograd.grad(out.square().sum(), inputs) for out in (fused, expected))
    for gradient, other in zip(gradients, wanted, strict=True):
        assert torch.allclose(gradient, other, rtol=1e-12, atol=1e-11)


def test_a_generator_with_fused_upsampling_makes_the_same_images() -> None:
    generator = Generator(latent_dim=5, width=4).double()
    latents = torch.randn(3, 5, dtype=torch.float64)
    expected = generator(latents)
    generator.fused_upsampling = True
    assert torch.allclose(generator(latents), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("name", "folded_away"), [("wrn-16-2", 6), ("resnet-18", 20)])
def test_folded_batch_norms_change_nothing_but_rounding(name: str, folded_away: int) -> None:
    torch.manual_seed(0)
    network = build_network(name, num_classes=10).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    network.train()(images)  # so that running statistics are not those of the beginning
    logits, activations = network.eval()(images)
    before = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    network.fold_batch_norms()
    network.fold_batch_norms()  # a second time does nothing
    folded_logits, folded_activations = network(images)
    assert torch.allclose(folded_logits, logits, rtol=1e-10, atol=1e-11)
    for folded, activation in zip(folded_activations, activations, strict=True):
        assert torch.allclose(folded, activation, rtol=1e-10, atol=1e-11)
    after = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert after == before - folded_away  # one in each block that has its BatchNorm first, else all
