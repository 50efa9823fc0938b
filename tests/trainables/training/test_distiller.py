from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.published_loop import PublishedLoop
from tests.support.distillers import BASES, CHANGES, State, assert_equal, changed, snapshot, without_times
from tests.support.missing import NEEDS_A_COMPILER
from tests.support.paths import ROOT
from tests.support.tiny import make_distiller, make_images, make_splits, make_teacher, tiny_settings, trained_metrics
from trainables.compute.devices import tf32
from trainables.config import ZeroShotConfig
from trainables.errors import CheckpointError
from trainables.images.splits import ImageSet
from trainables.metrics import METRICS
from trainables.networks import Network, build_network
from trainables.storage import checkpoint
from trainables.training.distiller import ZeroShotDistiller


def test_seeds_of_generator_and_student_vary_apart() -> None:
    base, generator, student = make_distiller(), make_distiller(generator_seed=1), make_distiller(student_seed=1)
    assert changed(base.generator, snapshot(generator.generator))
    assert not changed(base.student, snapshot(generator.student))
    assert not torch.equal(base._draw()[0], generator._draw()[0])
    assert changed(base.student, snapshot(student.student))
    assert not changed(base.generator, snapshot(student.generator))
    assert torch.equal(make_distiller()._draw()[0], student._draw()[0])
    both = make_distiller(seed=5, generator_seed=0, student_seed=0)
    assert not changed(base.student, snapshot(both.student))


def test_a_training_goes_on_from_the_state_of_one_with_other_settings() -> None:
    first = make_distiller(total_pseudo_batches=2, learning_rate_horizon=8)
    first.advance()
    state = checkpoint.parse(checkpoint.dump(first.state_dict()), origin="test")
    same: dict[str, Any] = {"total_pseudo_batches": 4, "learning_rate_horizon": 8}
    with pytest.raises(CheckpointError, match="another config: total_pseudo_batches=2"):
        make_distiller(**same).load_state_dict(state)
    second = make_distiller(**same, student_lr=1e-4, student_steps=3, batch_size=6)
    second.inherit(state)
    assert not changed(second.student, snapshot(first.student))
    report = second.advance()
    assert (report["pseudo_batches"], report["student_updates"]) == (4, 2 * 2 + 2 * 3)
    assert report["student_lr"] == pytest.approx(1e-4 * (1 + math.cos(math.pi * 3 / 8)) / 2)
    with pytest.raises(CheckpointError, match="generator_width=4 .here 6"):
        make_distiller(**same, generator_width=6).inherit(state)


def published_loop(*, dtype: torch.dtype = torch.float32, **changes: Any) -> PublishedLoop:
    config = ZeroShotConfig.model_validate(tiny_settings(**changes))
    teacher = make_teacher(config.teacher, dataset=config.dataset)
    return PublishedLoop.beginning(config, teacher, make_splits(config.dataset), dtype)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"generator_steps": 3, "student_steps": 2, "temperature": 3.0},
        {"attention_weight": 0.0},
        {"dataset": "cifar10", "teacher": "wrn-10-2", "student": "wrn-10-1", "student_steps": 3},
        {"dataset": "cifar10", "teacher": "resnet-18", "student": "resnet-18", "student_steps": 1},
    ],
    ids=["plain", "many generator steps", "no attention", "wide resnets", "resnets"],
)
def test_networks_equal_those_of_the_published_loop_bit_for_bit(changes: dict[str, Any]) -> None:
    distiller = make_distiller(numerics="exact", **changes)
    published = published_loop(**changes)
    distiller.train(3)
    for _ in range(3):
        published.pseudo_batch()
    for ours, theirs in ((distiller.student, published.student), (distiller.generator, published.generator)):
        for name, parameter in ours.named_parameters():
            assert torch.equal(parameter, theirs.get_parameter(name)), name
        for name, buffer in ours.named_buffers():
            # The generator's statistics take one step for many equal ones: equal up to rounding.
            assert torch.allclose(buffer.double(), theirs.get_buffer(name).double(), rtol=1e-5, atol=1e-7), name


def test_float64_states_equal_those_of_the_published_loop_buffers_included() -> None:
    distiller = make_distiller(dtype=torch.float64, student_steps=10, numerics="exact")
    published = published_loop(dtype=torch.float64, student_steps=10)
    distiller.train(3)
    for _ in range(3):
        published.pseudo_batch()
    theirs = published.generator.state_dict()
    for name, value in distiller.generator.state_dict().items():
        assert torch.allclose(value.double(), theirs[name].double(), rtol=1e-12, atol=1e-13), name


WIDE: dict[str, Any] = {"dataset": "cifar10", "teacher": "wrn-10-2", "student": "wrn-10-1", "student_steps": 3}


@pytest.mark.timeout(300)  # compiling
@pytest.mark.parametrize(
    "changes",
    [{}, WIDE, pytest.param({**WIDE, "compilation": "always"}, marks=NEEDS_A_COMPILER)],
    ids=["lenet", "wide resnets", "compiled"],
)
def test_fast_networks_equal_those_of_the_published_loop_but_for_rounding(changes: dict[str, Any]) -> None:
    # In float64, and for a few pseudo batches only: the loop is chaotic, so that in float32 one bit becomes percents.
    reference = published_loop(dtype=torch.float64, **changes)
    distiller = make_distiller(dtype=torch.float64, numerics="fast", **changes)
    assert distiller.compiled == ("compilation" in changes)
    distiller.train(3)
    for _ in range(3):
        reference.pseudo_batch()
    for ours, theirs in ((distiller.student, reference.student), (distiller.generator, reference.generator)):
        for name, value in theirs.state_dict().items():
            found = ours.state_dict()[name].double()
            assert torch.allclose(found, value.double(), rtol=1e-9, atol=1e-11), name


def test_fast_and_exact_networks_do_not_have_the_same_bits() -> None:
    # Guards the test before: it compares two ways of computing and not one with itself.
    exact, fast = (make_distiller(numerics=numerics, **WIDE) for numerics in ("exact", "fast"))
    exact.train(1)
    fast.train(1)
    assert changed(exact.student, snapshot(fast.student))


def test_lower_precision_computes_the_networks_and_nothing_else() -> None:
    full, half = make_distiller(**WIDE), make_distiller(precision="bfloat16", **WIDE)
    full.train(1)
    half.train(1)
    assert all(parameter.dtype == torch.float32 for parameter in half.student.parameters())
    reports: list[dict[str, Any]] = [full.report(), half.report()]
    assert reports[0]["generator_loss"] != reports[1]["generator_loss"]
    assert reports[0]["generator_loss"] == pytest.approx(reports[1]["generator_loss"], rel=0.1)
    # The same initial student is measured alike: accuracy is taken in float32.
    accuracies = [make_distiller(precision=p, **WIDE).report()["test_accuracy"] for p in ("float32", "bfloat16")]
    assert accuracies[0] == accuracies[1]


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_tf32_is_allowed_in_the_loop_only(precision: str) -> None:
    distiller = make_distiller(precision=precision)
    seen: list[bool] = []
    distiller.teacher.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    with tf32(allowed=False):
        distiller.train(1)
        assert not torch.backends.cudnn.allow_tf32
    assert set(seen) == {precision == "tf32"}
    assert bool(distiller.notes) == (precision == "tf32")  # there is no GPU here


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"compilation": "always"}])
def test_exact_excludes_what_is_not(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="numerics=exact excludes"):
        make_distiller(numerics="exact", **changes)


def test_auto_compiles_long_trials_of_wide_networks_in_fast_numerics() -> None:
    def is_compiled(**changes: Any) -> bool:
        return ZeroShotConfig.model_validate({"total_pseudo_batches": 500, **changes}).wants_compilation

    assert is_compiled()
    assert not is_compiled(total_pseudo_batches=499)
    assert not is_compiled(numerics="exact")
    assert not is_compiled(student="lenet", teacher="lenet")
    assert not is_compiled(compilation="never")
    assert is_compiled(total_pseudo_batches=1, compilation="always")


_COMPILING = """
from tests.support.tiny import make_distiller
distiller = make_distiller(compilation="always")
distiller.train(1)
print(distiller.compiled, distiller.notes)
"""


@pytest.mark.timeout(120)
def test_without_a_compiler_the_trial_runs_and_says_what_to_install(tmp_path: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if name not in {"CXX", "CC"}}
    bare |= {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", _COMPILING], env=bare, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False [")
    assert "there is no C++ compiler: install g++" in done.stdout


def test_going_on_otherwise_compiled_is_said() -> None:
    state = make_distiller().state_dict()
    same, other = make_distiller(), make_distiller()
    same.load_state_dict(state)
    assert not same.notes
    other.load_state_dict({**state, "compiled": True})
    assert "the trial was compiled before and is not compiled on this machine" in other.notes[0]


def test_a_generator_step_moves_the_generator_and_only_the_students_statistics() -> None:
    distiller = make_distiller(dataset="cifar10", teacher="wrn-10-1", student="wrn-10-1")
    student, generator, teacher = map(snapshot, (distiller.student, distiller.generator, distiller.teacher))
    distiller.student.requires_grad_(False)
    distiller._generator_step(torch.randn(4, 5))
    assert changed(distiller.generator, generator)
    assert not changed(distiller.teacher, teacher)
    after = distiller.student.state_dict()
    moved = {key for key in after if not torch.equal(after[key], student[key])}
    assert moved
    assert all("running_" in key or "num_batches_tracked" in key for key in moved)


def test_a_student_phase_moves_the_student_and_its_statistics_once_a_step() -> None:
    distiller = make_distiller(dataset="cifar10", teacher="wrn-10-1", student="wrn-10-1", student_steps=3)
    teacher = snapshot(distiller.teacher)
    student = snapshot(distiller.student)
    distiller.train(1)
    assert changed(distiller.student, student)
    assert not changed(distiller.teacher, teacher)
    assert not distiller.teacher.training
    assert all(parameter.grad is None for parameter in distiller.teacher.parameters())
    assert distiller.student.get_buffer("bn1.num_batches_tracked") == 1 + 3
    assert distiller.generator.get_buffer("bn1.num_batches_tracked") == 1 + 3


def test_the_student_sees_the_updated_generators_images_and_the_teacher_the_same_ones() -> None:
    distiller = make_distiller(student_steps=2, generator_steps=1)
    seen: dict[str, list[torch.Tensor]] = {"teacher": [], "student": [], "generator": []}
    for name in ("teacher", "student"):
        getattr(distiller, name).register_forward_pre_hook(lambda _, x, name=name: seen[name].append(x[0].detach()))
    distiller.generator.register_forward_hook(lambda _, __, y: seen["generator"].append(y.detach()))
    distiller.train(1)
    before_update, after_update = seen["generator"]
    assert not torch.equal(before_update, after_update)
    assert torch.equal(seen["student"][0], before_update)
    assert torch.equal(seen["teacher"][0], before_update)
    assert [torch.equal(x, after_update) for x in seen["student"][1:]] == [True, True]
    assert torch.equal(seen["teacher"][1], after_update)


def test_the_generator_learns_from_the_student() -> None:
    def gradient(student_seed: int) -> torch.Tensor:
        distiller = make_distiller()
        torch.manual_seed(student_seed)
        distiller.student.load_state_dict(build_network("lenet", num_classes=10, channels=1).state_dict())
        torch.manual_seed(0)
        distiller._generator_step(torch.randn(4, 5))
        grad = distiller.generator.get_parameter("conv1.weight").grad
        assert grad is not None
        return grad

    assert gradient(1).abs().sum() > 0
    assert not torch.equal(gradient(1), gradient(2))


def test_a_report_leaves_no_trace_and_the_student_in_train_mode() -> None:
    quiet, reporting = make_distiller(), make_distiller()
    for _ in range(3):
        quiet.train(1)
        reporting.train(1)
        reporting.report()
        assert reporting.student.training
        assert reporting.generator.training
    assert not changed(quiet.student, snapshot(reporting.student))
    assert not changed(quiet.generator, snapshot(reporting.generator))


def test_nothing_draws_from_the_global_random_state() -> None:
    distiller = make_distiller()
    before = torch.get_rng_state()
    distiller.advance()
    make_distiller(seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_reports_count_what_was_done_and_name_every_metric() -> None:
    distiller = make_distiller(generator_steps=3, student_steps=2, total_pseudo_batches=5, data_free_scores=True)
    reports: list[dict[str, Any]] = []
    while not distiller.finished:
        reports.append(distiller.advance())
    assert [report["pseudo_batches"] for report in reports] == [2, 4, 5]
    assert [report["generator_updates"] for report in reports] == [6, 12, 15]
    assert [report["student_updates"] for report in reports] == [4, 8, 10]
    for report in reports:
        # The transition error is measured once, by whoever ends the trial.
        named = trained_metrics("zero_shot")
        assert set(report) == named
        for metric in METRICS:
            if metric.asked_by == "student_timed":
                assert report[metric.name] is None
            elif metric.name in named - {"running_statistics_shift", "probe_statistics_distance"}:
                assert type(report[metric.name]) is metric.kind, metric.name
        assert report["running_statistics_shift"] is None  # a LeNet has none
        assert report["probe_statistics_distance"] is None
    last_step = (1 + math.cos(math.pi * 4 / 5)) / 2
    assert reports[-1]["student_lr"] == pytest.approx(2e-3 * last_step)
    assert reports[-1]["generator_lr"] == pytest.approx(1e-3 * last_step)


def test_means_of_a_report_start_anew_after_it() -> None:
    together, apart = make_distiller(), make_distiller()
    together.train(2)
    apart.train(1)
    first: dict[str, Any] = apart.report()
    apart.train(1)
    second: dict[str, Any] = apart.report()
    mean = (first["generator_loss"] + second["generator_loss"]) / 2
    assert together.report()["generator_loss"] == pytest.approx(mean)
    assert first["student_loss"] == pytest.approx(first["divergence"] + 250 * first["attention_transfer"], rel=1e-5)


def test_the_cosine_may_be_laid_out_over_more_than_the_budget() -> None:
    distiller = make_distiller(total_pseudo_batches=2, learning_rate_horizon=100)
    report = distiller.advance()
    assert distiller.finished
    assert report["student_lr"] == pytest.approx(2e-3 * (1 + math.cos(math.pi / 100)) / 2)


EXCEPTIONS = {
    "image_size": "the images' and all networks': tests/trainables/images/test_image_sizes.py",
    **dict.fromkeys(
        ("channels", "num_classes", "training_images", "test_images", "dataset_sha256"),
        "read from images of one's own: tests/trainables/images/test_own_images.py",
    ),
    "dataset_file": "read before the loop: tests/trainables/images/test_dataset_files.py",
    "dataset": "chooses the images and the teacher: tests/orchestrator/run/test_sweep.py",
    "teacher": "chooses the teacher's weights: the same",
    "teacher_seed": "of the teacher's training: tests/orchestrator/run/test_sweep.py",
    "normalisation": "is of the real images, not of the loop: the next test but two",
    "teacher_checkpoint": "read before the loop: tests/trainables/teachers/test_teachers.py",
    "validation_fraction": "splits the images: tests/trainables/images/test_data.py",
    "split_seed": "the same",
    "method": "has one value here: tests/trainables/test_trial.py",
    "compilation": "changes bits of wide networks: the tests above",
    "cuda_graphs": "changes no weight: tests/trainables/compute/test_graphs.py",
    "allow_slow_precision": "lets a trial run or not: tests/trainables/compute/test_precision.py",
    "transition_images": "measured after the loop: tests/trainables/test_trial.py",
    "audited": "chooses the images: tests/trainables/test_trial.py",
    "initial_trial": "found among the checkpoints: tests/trainables/test_ray_trainables.py",
}


def test_every_field_is_covered_by_the_next_test() -> None:
    assert set(CHANGES) | set(EXCEPTIONS) == set(ZeroShotConfig.model_fields)
    assert not set(CHANGES) & set(EXCEPTIONS)


@pytest.mark.parametrize("field", CHANGES)
def test_no_knob_is_dead(field: str) -> None:
    def run(**changes: Any) -> tuple[State, dict[str, Any]]:
        distiller = make_distiller(**{**BASES.get(field, {}), **changes})
        report = {key: value for key, value in distiller.advance().items() if not key.endswith("seconds")}
        return snapshot(distiller.student), report

    (weights, report), (other_weights, other_report) = run(), run(**{field: CHANGES[field]})
    same_weights = weights.keys() == other_weights.keys() and all(
        weights[key].shape == other_weights[key].shape and torch.equal(weights[key], other_weights[key])
        for key in weights
    )
    assert not same_weights or report != other_report
    again, report_again = run()
    assert all(torch.equal(again[key], weights[key]) for key in weights), "the comparison itself is not repeatable"
    assert report_again == report


class _SeesLight(Network):
    """Takes an image for class 1 if its mean is positive, else for class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        light = self.scale * images.mean((1, 2, 3))
        return torch.stack([-light, light], 1), []


def test_accuracy_is_measured_under_the_chosen_normalisation() -> None:
    def measured(normalisation: str | None) -> float:
        distiller = make_distiller(normalisation=normalisation)
        grey = ImageSet(
            images=torch.full((4, 1, 32, 32), 100, dtype=torch.uint8), labels=torch.ones(4, dtype=torch.int64)
        )
        distiller.splits = replace(distiller.splits, validation=grey)
        distiller.student = _SeesLight()
        return float(distiller.report()["validation_accuracy"] or 0.0)

    # 100/255 is brighter than the digits' mean and than 0, and darker than a half.
    assert (measured(None), measured("unit"), measured("half")) == (1.0, 1.0, 0.0)


_CONTINUE = """
import json
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.support.tiny import make_distiller
from trainables.storage import checkpoint
distiller = make_distiller(**json.loads(sys.argv[3]))
distiller.load_state_dict(checkpoint.parse(Path(sys.argv[1]).read_bytes(), origin="test"))
distiller.advance()
Path(sys.argv[2]).write_bytes(checkpoint.dump(distiller.state_dict()))
"""


@pytest.mark.timeout(300)  # compiling
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {**WIDE, "numerics": "exact"},
        WIDE,
        pytest.param({**WIDE, "precision": "bfloat16", "compilation": "always"}, marks=NEEDS_A_COMPILER),
    ],
    ids=["lenet", "wide and exact", "wide", "wide, compiled, bfloat16"],
)
def test_training_4_equals_training_2_saving_and_training_2_in_a_new_process(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    whole, half = make_distiller(**changes), make_distiller(**changes)
    whole.advance()
    whole.advance()
    half.advance()
    (tmp_path / "half").write_bytes(checkpoint.dump(half.state_dict()))
    command = [sys.executable, "-c", _CONTINUE, str(tmp_path / "half"), str(tmp_path / "whole"), json.dumps(changes)]
    subprocess.run(command, check=True, cwd=ROOT)
    continued = checkpoint.parse((tmp_path / "whole").read_bytes(), origin="test")
    expected = checkpoint.parse(checkpoint.dump(whole.state_dict()), origin="test")
    assert_equal(without_times(continued), without_times(expected))
    assert expected["counters"]["pseudo_batches"] == 4


def test_a_checkpoint_without_the_latents_stream_would_not_do() -> None:
    # Guards the test above: it would notice a random state that was left out.
    whole, half = make_distiller(), make_distiller()
    whole.train(3)
    half.train(2)
    state = checkpoint.parse(checkpoint.dump(half.state_dict()), origin="test")
    forgetful = make_distiller()
    state["latent_stream"] = forgetful._latent_stream.get_state()
    forgetful.load_state_dict(state)
    forgetful.train(1)
    assert changed(whole.student, snapshot(forgetful.student))


def test_a_checkpoint_of_another_config_is_refused_by_field() -> None:
    state = make_distiller(temperature=2.0).state_dict()
    with pytest.raises(CheckpointError, match=r"temperature=2.0 \(here 1.0\)"):
        make_distiller().load_state_dict(state)


def test_attention_between_networks_of_different_families_is_refused() -> None:
    with pytest.raises(ValueError, match="attention_weight=250.*allowed: attention_weight=0"):
        make_distiller(student="wrn-10-1")


@pytest.mark.parametrize(
    ("student_lr", "attention_weight"), [(1e3, 250.0), (1e4, 250.0), (1e4, 0.0), (1e30, 250.0), (1e30, 0.0)]
)
def test_a_diverging_trial_says_so_and_ends(student_lr: float, attention_weight: float) -> None:
    distiller = make_distiller(student_lr=student_lr, attention_weight=attention_weight)
    report = distiller.advance()
    assert report["diverged"] is True
    assert distiller.finished
    assert make_distiller(attention_weight=attention_weight).advance()["diverged"] is False


def test_a_student_whose_units_are_all_off_has_not_diverged() -> None:
    # What a rate of 1e3 also comes to: ReLUs that never open again, after which nothing can grow.
    distiller = make_distiller(student_lr=1e3, attention_weight=0.0, total_pseudo_batches=20, evaluation_interval=10)
    reports = [distiller.advance(), distiller.advance()]
    assert not any(report["diverged"] for report in reports)
    logits = distiller.student.eval()(make_images(16).images.float())[0]
    assert (logits == logits[0]).all()


def test_evaluation_images_never_reach_the_loop() -> None:
    config = ZeroShotConfig.model_validate(tiny_settings())
    distillers = [
        ZeroShotDistiller(
            config, teacher=make_teacher(), splits=replace(make_splits(), validation=make_images(8, seed=seed))
        )
        for seed in (0, 1)
    ]
    for distiller in distillers:
        distiller.advance()
        distiller.advance()
    assert not changed(distillers[0].student, snapshot(distillers[1].student))
