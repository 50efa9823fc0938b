"""What people argue about, each tested for what it does to the loop, beside that it does something."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.support.tiny import make_distiller
from trainables.training.distiller import ZeroShotDistiller

WIDE: dict[str, Any] = {"dataset": "cifar10", "teacher": "wrn-10-1", "student": "wrn-10-1"}


def watched(distiller: ZeroShotDistiller) -> dict[str, list[torch.Tensor]]:
    """What each network sees, and makes, in one pseudo batch."""
    seen: dict[str, list[torch.Tensor]] = {"latents": [], "images": [], "student": [], "teacher": []}

    def note(module: nn.Module, latents: tuple[torch.Tensor], images: torch.Tensor) -> None:
        seen["latents"].append(latents[0])
        seen["images"].append(images.detach())

    distiller.generator.register_forward_hook(note)
    for name in ("student", "teacher"):
        getattr(distiller, name).register_forward_pre_hook(lambda _, x, name=name: seen[name].append(x[0].detach()))
    distiller.train(1)
    return seen


def test_fresh_latents_are_drawn_for_each_student_step() -> None:
    seen = watched(make_distiller(latents="fresh", student_steps=3, generator_steps=2))
    scoring, learning = seen["latents"][:2], seen["latents"][2:]
    assert torch.equal(scoring[0], scoring[1])
    assert len(learning) == 3
    assert len({tuple(latents.flatten().tolist()) for latents in (scoring[0], *learning)}) == 4
    # Student and teacher still look at the same images in each step.
    for student, teacher in zip(seen["student"][2:], seen["teacher"][2:], strict=True):
        assert torch.equal(student, teacher)


def test_the_scored_batch_is_the_one_before_the_generators_last_update() -> None:
    seen = watched(make_distiller(student_batch="scored", student_steps=2, generator_steps=2))
    assert len(seen["images"]) == 2  # none is made anew
    for images in (*seen["student"][2:], seen["teacher"][2]):
        assert torch.equal(images, seen["images"][1])


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_students_statistics_rest_in_generator_steps_in_eval_mode_only(mode: str) -> None:
    distiller = make_distiller(**WIDE, student_mode_in_generator_step=mode, generator_steps=3, student_steps=2)
    distiller.train(1)
    assert distiller.student.get_buffer("bn1.num_batches_tracked") == 2 + (3 if mode == "train" else 0)
    assert distiller.student.training


def loss_after_one_step(**changes: Any) -> dict[str, Any]:
    distiller = make_distiller(dtype=torch.float64, student_steps=1, **changes)
    distiller.train(1)
    return distiller.report()


def test_the_reduction_and_the_temperature_factor_scale_the_divergence_and_not_attention() -> None:
    base = loss_after_one_step(temperature=2.0, generator_lr=1e-30)
    summed = loss_after_one_step(temperature=2.0, generator_lr=1e-30, divergence_reduction="batchmean")
    squared = loss_after_one_step(temperature=2.0, generator_lr=1e-30, temperature_factor="squared")
    for other, factor in ((summed, 10), (squared, 4)):
        for name in ("divergence", "generator_loss"):
            assert other[name] == pytest.approx(factor * base[name], rel=1e-9)
        assert other["attention_transfer"] == pytest.approx(base["attention_transfer"], rel=1e-9)
        expected = factor * base["divergence"] + 250 * base["attention_transfer"]
        assert other["student_loss"] == pytest.approx(expected, rel=1e-9)


def test_no_clipping_is_a_bound_that_is_never_reached() -> None:
    free, bounded, clipped = (make_distiller(gradient_clip_norm=limit) for limit in (None, 1e6, 1e-3))
    for distiller in (free, bounded, clipped):
        distiller.train(2)
    weights = [distiller.student.get_parameter("conv1.weight") for distiller in (free, bounded, clipped)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("field", "weight", "wanted"),
    [
        ("teacher_entropy_weight", 10.0, "lower"),
        ("teacher_entropy_weight", -10.0, "higher"),
        ("student_entropy_weight", 10.0, "lower"),
        ("consistency_weight", 1e4, "lower"),
        ("diversity_weight", 10.0, "higher"),
    ],
)
def test_an_extra_term_moves_what_it_measures_in_its_direction(field: str, weight: float, wanted: str) -> None:
    """The generator is trained on the term alone, to all intents, and the term is measured before and after."""
    settings: dict[str, Any] = {field: weight, "batch_size": 16, "student_lr": 1e-30}
    distiller = make_distiller(**settings)
    latents = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))

    def measured() -> float:
        images = distiller.generator(latents)
        terms = distiller.losses.terms
        student_logits, teacher_logits = (network(images)[0] for network in (distiller.student, distiller.teacher))
        noise = terms.draw(images.shape, images.dtype)
        (term,) = terms.terms(images, student_logits, teacher_logits, noise)
        sign = -1 if field == "diversity_weight" else 1
        return term.item() / weight * sign

    before = measured()
    for _ in range(10):
        distiller._generator_step(
            latents, distiller.losses.terms.draw((16, *distiller._image_shape[1:]), distiller.dtype)
        )
    assert (measured() < before) is (wanted == "lower")


def test_disturbances_are_small_and_what_they_say() -> None:
    images = torch.zeros(2, 1, 32, 32)
    images[:, :, 16, 16] = 1.0
    noisy, blurred = (
        terms._disturbed(images, terms.draw(images.shape, images.dtype))
        for terms in (
            make_distiller(consistency_weight=1.0, consistency_disturbance=kind).losses.terms
            for kind in ("noise", "blur")
        )
    )
    assert (noisy - images).std().item() == pytest.approx(0.1, rel=0.1)
    assert blurred[0, 0, 15:18, 15:18].tolist() == [
        [0.0625, 0.125, 0.0625],
        [0.125, 0.25, 0.125],
        [0.0625, 0.125, 0.0625],
    ]
    assert blurred.sum().item() == pytest.approx(images.sum().item())


def test_noise_goes_on_where_it_was() -> None:
    settings: dict[str, Any] = {"consistency_weight": 5.0}
    whole, half = make_distiller(**settings), make_distiller(**settings)
    whole.train(3)
    half.train(2)
    continued = make_distiller(**settings)
    continued.load_state_dict(half.state_dict())
    continued.train(1)
    for key, value in whole.generator.state_dict().items():
        assert torch.equal(value, continued.generator.state_dict()[key]), key


EXTRA_TERMS: list[dict[str, Any]] = [
    {"teacher_entropy_weight": 0.5},
    {"student_entropy_weight": 0.5},
    {"diversity_weight": 0.5},
    {"consistency_weight": 5.0},
    {"consistency_weight": 5.0, "consistency_disturbance": "blur"},
    {"teacher_entropy_weight": 0.5, "student_entropy_weight": 0.5, "diversity_weight": 0.5, "consistency_weight": 5.0},
]


def generator_gradient(distiller: ZeroShotDistiller, find_loss: Any) -> tuple[float, torch.Tensor]:
    latents = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=distiller.dtype)
    noise = distiller.losses.terms.draw(distiller._image_shape, distiller.dtype)
    loss, _ = find_loss(latents, noise)
    loss.backward()
    gradient = distiller.generator.get_parameter("linear.weight").grad
    assert gradient is not None
    return loss.item(), gradient


@pytest.mark.parametrize("terms", EXTRA_TERMS)
def test_extra_terms_are_the_same_compiled(terms: dict[str, Any]) -> None:
    plain, traced = (make_distiller(dtype=torch.float64, **terms) for _ in range(2))
    torch.compiler.reset()
    # What can go wrong is how torch takes the function apart, which this backend, too, lets it do.
    compiled = torch.compile(traced.losses.generator_loss, backend="eager", dynamic=False)
    (loss, gradient), (again, gradient_again) = (
        generator_gradient(plain, plain.losses.generator_loss),
        generator_gradient(traced, compiled),
    )
    assert again == pytest.approx(loss, rel=1e-9)
    assert torch.allclose(gradient_again, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("terms", EXTRA_TERMS)
def test_extra_terms_in_bfloat16_are_about_the_same(terms: dict[str, Any]) -> None:
    full, half = make_distiller(**terms), make_distiller(precision="bfloat16", **terms)
    losses = [generator_gradient(distiller, distiller.losses.generator_loss)[0] for distiller in (full, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.2, abs=0.02)
