from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.tiny import make_images
from trainables.config.datasets import find_normalisation
from trainables.evaluation import TransitionCurves, mean_curves, mean_transition_error, transition_curves
from trainables.images.splits import ImageSet, normalise
from trainables.networks import Network, build_network
from trainables.seeding import seeded, stream

DIGITS, UNIT = find_normalisation("digits"), find_normalisation("unit")


class FirstPixel(Network):
    """Logits (slope * first pixel, 0)."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        score = self.slope * images[:, 0, 0, 0]
        return torch.stack([score, torch.zeros_like(score)], dim=1), []


class Reader(Network):
    """Takes an image for the number in its first pixel, modulo 4, except for the number that it misreads as 0."""

    def __init__(self, misreads: int = -1) -> None:
        super().__init__()
        self.misreads = nn.Parameter(torch.tensor(float(misreads)))

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        number = images[:, 0, 0, 0] * 255
        number = torch.where((number - self.misreads).abs() < 0.5, number * 0, number)
        return -((number.unsqueeze(1) % 4 - torch.arange(4)) ** 2), []


def numbered(*pairs: tuple[int, int]) -> ImageSet:
    """Images of (first pixel, label)."""
    images = torch.zeros(len(pairs), 1, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor([pixel for pixel, _ in pairs])
    return ImageSet(images=images, labels=torch.tensor([label for _, label in pairs]))


def small_network(name: str, seed: int, *, num_classes: int, dtype: torch.dtype) -> Network:
    """Random weights and, where there are any, BatchNorm statistics that are not those of a new layer."""
    with seeded(seed, "test transition"):
        network = build_network(name, num_classes=num_classes, channels=1)
        for module in network.modules():
            if (
                isinstance(module, nn.BatchNorm2d)
                and module.running_mean is not None
                and module.running_var is not None
            ):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return network.to(dtype).eval()


def one_at_a_time(
    attacked: Network, other: Network, data: ImageSet, indices: Tensor, *, classes: int, steps: int, step_size: float
) -> tuple[Tensor, Tensor]:
    """Section 4.2 word for word: for each image, for each target, for each step."""
    dtype = next(attacked.parameters()).dtype
    curves = torch.zeros(2, len(indices), classes - 1, steps, dtype=dtype)
    for row, index in enumerate(indices.tolist()):
        for m in range(classes - 1):
            j = (int(data.labels[index]) + 1 + m) % classes
            x = normalise(data.images[index : index + 1], DIGITS, dtype)
            for k in range(steps):
                x = x.clone().requires_grad_()
                logits, other_logits = attacked(x)[0], other(x)[0]
                curves[0, row, m, k] = logits.softmax(1)[0, j]
                curves[1, row, m, k] = other_logits.softmax(1)[0, j]
                F.cross_entropy(logits, torch.tensor([j])).backward()
                assert x.grad is not None
                x = (x - step_size * x.grad).detach()
    return curves[0].detach(), curves[1].detach()


@pytest.mark.parametrize("batch_size", [1, 5, 1000, None])
@pytest.mark.parametrize(("name", "classes", "seeds"), [("lenet", 5, (5, 6)), ("wrn-10-1", 3, (1, 7))])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-5)])
def test_many_at_once_give_what_one_at_a_time_gives(
    name: str, classes: int, seeds: tuple[int, int], dtype: torch.dtype, tolerance: float, batch_size: int | None
) -> None:
    attacked, other = (small_network(name, seed, num_classes=classes, dtype=dtype) for seed in seeds)
    found = make_images(20)
    data = ImageSet(images=found.images, labels=found.labels % classes)
    curves = transition_curves(
        attacked, other, data, DIGITS, images=2, steps=4, step_size=1000.0, batch_size=batch_size
    )
    assert curves.attacked.shape == curves.other.shape == (2, classes - 1, 4)
    expected = one_at_a_time(attacked, other, data, curves.image_indices, classes=classes, steps=4, step_size=1000.0)
    for measured, plain in zip((curves.attacked, curves.other), expected, strict=True):
        assert measured.dtype == torch.float32
        torch.testing.assert_close(measured.to(dtype), plain, rtol=0, atol=tolerance)
    # Curves that hardly moved would agree whatever the steps were; untrained networks need long ones.
    assert (curves.attacked[..., -1] - curves.attacked[..., 0]).min() > 0.03
    assert (curves.other[..., -1] - curves.other[..., 0]).abs().min() > 1e-3


def test_the_two_networks_may_differ_in_precision() -> None:
    attacked = small_network("lenet", 5, num_classes=5, dtype=torch.float32)
    other = small_network("lenet", 6, num_classes=5, dtype=torch.float64)
    data = ImageSet(images=make_images(5).images, labels=torch.arange(5))
    mixed = transition_curves(attacked, other, data, DIGITS, images=1, steps=3)
    alike = transition_curves(attacked, other.float(), data, DIGITS, images=1, steps=3)
    torch.testing.assert_close(mixed.other, alike.other)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_points_are_recorded_before_the_step_and_the_step_is_the_plain_gradient() -> None:
    # From a black image, towards class 1: dCE/dx = slope * p_0, so x goes 0, -1, -1 - 2 * sigmoid(-2).
    curves = transition_curves(FirstPixel(2.0), FirstPixel(1.0), numbered((0, 0)), UNIT, steps=3)
    third = 1 + 2 * sigmoid(-2)
    assert curves.targets.tolist() == [[1]]
    assert curves.attacked[0, 0].tolist() == pytest.approx([0.5, sigmoid(2), sigmoid(2 * third)])
    assert curves.other[0, 0].tolist() == pytest.approx([0.5, sigmoid(1), sigmoid(third)])


def test_the_step_is_scaled_by_step_size_and_pixels_are_not_clipped() -> None:
    curves = transition_curves(FirstPixel(2.0), FirstPixel(1.0), numbered((0, 0)), UNIT, steps=2, step_size=10)
    assert curves.other[0, 0].tolist() == pytest.approx([0.5, sigmoid(10)])


def test_steps_do_not_depend_on_who_else_is_in_the_batch() -> None:
    alone = transition_curves(FirstPixel(2.0), FirstPixel(1.0), numbered((0, 0)), UNIT, steps=5)
    among = transition_curves(FirstPixel(2.0), FirstPixel(1.0), numbered(*[(0, 0)] * 7), UNIT, steps=5, batch_size=7)
    assert torch.equal(among.attacked, alone.attacked.expand(7, -1, -1))


@pytest.mark.parametrize(
    ("rule", "misclassified"),
    [("label", [1, 2, 3]), ("prediction", [3, 0, 1])],
)
def test_targets_are_all_but_the_label_or_all_but_the_prediction(rule: Any, misclassified: list[int]) -> None:
    data = numbered((2, 2), (2, 0))  # both networks take either for a 2
    curves = transition_curves(Reader(), Reader(), data, UNIT, steps=1, targets=rule)
    rows = {int(label): row.tolist() for label, row in zip(curves.labels, curves.targets, strict=True)}
    assert rows == {2: [3, 0, 1], 0: misclassified}
    assert curves.target_rule == rule


def test_the_label_rule_pushes_a_misclassified_image_to_where_it_is() -> None:
    curves = transition_curves(Reader(), Reader(), numbered((2, 0)), UNIT, steps=1)
    clean = torch.softmax(-torch.tensor([[4.0, 1.0, 0.0, 1.0]]), 1)[0]
    torch.testing.assert_close(curves.attacked[0, :, 0], clean[[1, 2, 3]], rtol=0, atol=1e-4)


def test_only_images_on_which_both_agree_are_taken_in_a_random_order_of_their_own() -> None:
    data = numbered(*[(number % 4, 1) for number in range(40)])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    curves = transition_curves(Reader(), Reader(misreads=3), data, UNIT, steps=1, images=12, seed=5, batch_size=7)
    assert torch.equal(torch.get_rng_state(), before)
    order = torch.randperm(40, generator=stream(5, "transition images"))
    assert curves.image_indices.tolist() == [index for index in order.tolist() if index % 4 != 3][:12]
    assert curves.labels.tolist() == [1] * 12

    def chosen(**changes: Any) -> list[int]:
        settings = {"steps": 1, "images": 12, "seed": 5} | changes
        found = transition_curves(Reader(), Reader(misreads=3), data, UNIT, **settings)
        return found.image_indices.tolist()

    assert chosen(batch_size=1) == chosen() == curves.image_indices.tolist()
    assert chosen(images=5) == chosen()[:5]
    assert chosen(seed=6) != chosen()
    assert len(chosen(images=1000)) == 30  # fewer agree than were asked for


def trace(network: Network) -> tuple[dict[Any, bool], dict[str, tuple[Tensor, bool, Tensor | None]]]:
    """Modes, state, flags and gradients."""
    return (
        {module: module.training for module in network.modules()},
        {
            name: (value.clone(), value.requires_grad, getattr(value, "grad", None))
            for name, value in network.state_dict(keep_vars=True).items()
        },
    )


def test_the_networks_are_as_before() -> None:
    attacked = small_network("wrn-10-1", 1, num_classes=3, dtype=torch.float32).train()
    other = small_network("wrn-10-1", 7, num_classes=3, dtype=torch.float32)
    attacked.get_submodule("bn1").eval()  # a mode of its own must survive
    next(attacked.parameters()).requires_grad_(False)
    other.get_parameter("fc.weight").grad = torch.ones(3, 64)
    before = [trace(network) for network in (attacked, other)]
    data = ImageSet(images=make_images(6).images, labels=torch.arange(6) % 3)
    transition_curves(attacked, other, data, DIGITS, images=1, steps=2)
    for network, (modes, values) in zip((attacked, other), before, strict=True):
        modes_now, values_now = trace(network)
        assert modes_now == modes
        for name, (value, flag, gradient) in values.items():
            assert torch.equal(values_now[name][0], value), name
            assert values_now[name][1] is flag, name
            assert values_now[name][2] is gradient, name


def test_modes_are_put_back_after_an_error() -> None:
    network = Reader().train()
    with pytest.raises(ValueError, match="agree on no image"):
        transition_curves(network, Reader(misreads=3), numbered((3, 3)), UNIT)
    assert network.training


class WeightGradients(TorchDispatchMode):
    """Notes for each convolution's backward pass whether a gradient of its weights was asked for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket is torch.ops.aten.convolution_backward:
            self.asked.append(args[-1][1])
        return func(*args, **(kwargs or {}))


def test_no_gradient_of_weights_is_computed() -> None:
    network = small_network("lenet", 2, num_classes=5, dtype=torch.float32)
    data = ImageSet(images=make_images(1).images, labels=torch.zeros(1, dtype=torch.int64))
    with WeightGradients() as seen:
        transition_curves(network, network, data, DIGITS, steps=3)
    assert seen.asked == [False] * 4  # two convolutions, and no step after the last point
    with WeightGradients() as seen:
        network(normalise(data.images, DIGITS))[0].sum().backward()
    assert all(seen.asked)  # this test sees what it looks for


def test_gradients_are_taken_where_the_caller_has_switched_them_off() -> None:
    def run() -> Tensor:
        return transition_curves(FirstPixel(2.0), FirstPixel(1.0), numbered((0, 0)), UNIT, steps=3).attacked

    with torch.no_grad():
        off = run()
    assert torch.equal(off, run())


def test_a_network_has_no_error_against_itself() -> None:
    network = small_network("lenet", 2, num_classes=5, dtype=torch.float32)
    data = ImageSet(images=make_images(4).images, labels=torch.arange(4))
    error = mean_transition_error(transition_curves(network, network, data, DIGITS, images=3, steps=5), points=5)
    assert (error.mean, error.low, error.high, error.images) == (0, 0, 0, 3)


def made(attacked: Tensor, other: Tensor) -> TransitionCurves:
    """Curves (n, targets, steps) of nobody."""
    images, targets, _ = attacked.shape
    return TransitionCurves(
        image_indices=torch.arange(images) * 7,
        labels=torch.zeros(images, dtype=torch.int64),
        targets=(torch.arange(targets) + 1).repeat(images, 1),
        attacked=attacked.float(),
        other=other.float(),
        step_size=0.1,
        target_rule="label",
        seed=3,
    )


def test_mean_transition_error_by_hand() -> None:
    other = torch.zeros(2, 2, 3)
    other[0] = torch.tensor([[0.0, 0.2, 1.0], [0.2, 0.0, 1.0]])  # 0.1 over two points
    other[1] = torch.tensor([[0.5, 0.5, 1.0], [0.1, 0.1, 1.0]])  # 0.3
    error = mean_transition_error(made(torch.zeros(2, 2, 3), other), points=2)
    assert error.mean == pytest.approx(0.2)
    # Standard deviation 0.1 * sqrt(2) over sqrt(2) images, times the 97.5 % quantile of t with one degree of freedom.
    assert error.low == pytest.approx(0.2 - 12.7062 * 0.1, abs=1e-5)
    assert error.high == pytest.approx(0.2 + 12.7062 * 0.1, abs=1e-5)
    assert mean_transition_error(made(other, torch.zeros(2, 2, 3)), points=2) == error
    assert mean_transition_error(made(torch.zeros(2, 2, 3), other), points=3).mean == pytest.approx(0.4 / 3 + 1 / 3)


def test_nine_curves_of_one_image_are_worth_one() -> None:
    torch.manual_seed(0)
    attacked, other = torch.rand(2, 6, 1, 4)
    single, repeated = made(attacked, other), made(attacked.expand(-1, 9, -1), other.expand(-1, 9, -1))
    one, nine = (mean_transition_error(curves, points=4) for curves in (single, repeated))
    assert (nine.mean, nine.low, nine.high) == pytest.approx((one.mean, one.low, one.high))
    assert one.high - one.low > 0.01
    torch.testing.assert_close(mean_curves(repeated).attacked_error, mean_curves(single).attacked_error)
    torch.testing.assert_close(mean_curves(repeated).other_error, mean_curves(single).other_error)


def test_mean_curves_by_hand() -> None:
    attacked = torch.tensor([[[0.0, 0.2], [0.0, 0.4]], [[0.2, 0.8], [0.2, 1.0]]])
    means = mean_curves(made(attacked, 1 - attacked))
    assert means.images == 2
    assert means.attacked.tolist() == pytest.approx([0.1, 0.6])
    assert means.other.tolist() == pytest.approx([0.9, 0.4])
    assert means.attacked_error.tolist() == pytest.approx([0.1, 0.3])
    assert means.other_error.tolist() == pytest.approx([0.1, 0.3])


def test_one_image_has_a_mean_and_no_interval() -> None:
    curves = made(torch.zeros(1, 3, 2), torch.full((1, 3, 2), 0.25))
    error = mean_transition_error(curves, points=2)
    assert error.mean == 0.25
    assert math.isnan(error.low) and math.isnan(error.high)
    assert mean_curves(curves).other_error.isnan().all()


def test_tables_give_the_curves_back() -> None:
    torch.manual_seed(0)
    curves = replace(made(*torch.rand(2, 3, 4, 5)), step_size=0.1 + 0.2, target_rule="prediction")
    table = curves.to_table()
    assert table.num_rows == 12
    assert table.column_names == ["image_index", "label", "target", "attacked", "other"]
    assert table["image_index"].to_pylist() == [0] * 4 + [7] * 4 + [14] * 4
    assert table["target"].to_pylist() == [1, 2, 3, 4] * 3
    assert table["other"][5].as_py() == curves.other[1, 1].tolist()
    assert table.schema.metadata[b"steps"] == b"5"
    assert all(field.metadata[b"description"] for field in table.schema)

    file = io.BytesIO()
    pq.write_table(table, file)
    file.seek(0)
    for again in (TransitionCurves.from_table(table), TransitionCurves.from_table(pq.read_table(file))):
        for name in ("image_indices", "labels", "targets", "attacked", "other"):
            ours, theirs = getattr(curves, name), getattr(again, name)
            assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), name
        assert (again.step_size, again.target_rule, again.seed, again.steps) == (0.1 + 0.2, "prediction", 3, 5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop_columns(["other"]), "allowed: image_index, label"),
        (lambda table: table.replace_schema_metadata({}), "schema_version None"),
        (lambda table: table.replace_schema_metadata({"schema_version": "1", "steps": "5"}), "step_size"),
        (lambda table: table.slice(1), "rows of 3 images"),
        (lambda table: table.take(pc.sort_indices(table["target"])), "together"),
        (lambda table: table.slice(0, 0), "0 rows"),
        (lambda table: table.replace_schema_metadata({**table.schema.metadata, b"steps": b"4"}), "steps=4"),
    ],
)
def test_other_tables_are_refused(spoil: Callable[[Any], Any], message: str) -> None:
    table = made(*torch.rand(2, 3, 4, 5)).to_table()
    with pytest.raises(ValueError, match=message):
        TransitionCurves.from_table(spoil(table))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": 0}, "images=0; allowed: at least 1"),
        ({"steps": 0}, "steps=0; allowed: at least 1"),
        ({"batch_size": 0}, "batch_size=0; allowed: at least 1"),
        ({"step_size": 0.0}, "step_size=0.0; allowed: above 0"),
        ({"step_size": math.nan}, "step_size=nan; allowed: above 0"),
        ({"targets": "both"}, "targets='both'; allowed: label, prediction"),
        ({"data": numbered((0, 4))}, "label 4 in the data; allowed: 0 to 3"),
        ({"data": numbered((0, 0)).subset(torch.arange(0))}, "no image"),
        ({"other": FirstPixel(1.0)}, "4 and 2 classes"),
        ({"other": Reader().to("meta")}, "one device"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"attacked": Reader(), "other": Reader(), "data": numbered((0, 0)), "normalisation": UNIT}
    with pytest.raises(ValueError, match=message):
        transition_curves(**(usual | arguments))


@pytest.mark.parametrize("points", [0, 4])
def test_an_error_over_points_that_were_not_recorded_is_refused(points: int) -> None:
    with pytest.raises(ValueError, match=f"points={points}; allowed: 1 to 3"):
        mean_transition_error(made(torch.zeros(2, 2, 3), torch.zeros(2, 2, 3)), points=points)
