"""CUDA graphs, mostly without a GPU: the tape of ``tests.support.tape`` stands for torch's recording."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from tests.support.missing import NEEDS_A_GPU
from tests.support.tape import Tape
from tests.support.tiny import make_distiller
from trainables.compute import cuda_graphs as graphs
from trainables.config import ZeroShotConfig
from trainables.errors import RecordingError
from trainables.metrics import Report
from trainables.storage import checkpoint
from trainables.training import distiller
from trainables.training.distiller import ZeroShotDistiller

BATCHES = 6


@pytest.fixture
def gpu_like(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """The CPU taken for a device that work is queued for; gives the tapes that were recorded."""
    tapes: list[Tape] = []

    def record(work: Any) -> Any:
        tapes.append(Tape.of(work))
        return tapes[-1].replay

    monkeypatch.setattr(distiller, "is_asynchronous", lambda device: True)
    monkeypatch.setattr(graphs, "record", record)
    monkeypatch.setattr(graphs, "warm_up", Tape.of)
    return tapes


def bits(trained: ZeroShotDistiller) -> dict[str, torch.Tensor]:
    networks = {"student": trained.student, "generator": trained.generator}
    return {f"{name}.{key}": v for name, net in networks.items() for key, v in net.state_dict().items()}


def assert_equal(left: ZeroShotDistiller, right: ZeroShotDistiller) -> None:
    for name, value in bits(left).items():
        assert torch.equal(value, bits(right)[name]), name


def without_seconds(report: Report) -> Report:
    return {name: value for name, value in report.items() if "seconds" not in name}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"generator_steps": 3, "student_steps": 2, "temperature": 3.0, "student_mode_in_generator_step": "eval"},
        {"latents": "fresh", "attention_weight": 0.0, "gradient_clip_norm": None},
        {"student_batch": "scored", "student_divergence": "jensen_shannon", "temperature_factor": "squared"},
        {"teacher_entropy_weight": 0.5, "student_entropy_weight": 0.5, "diversity_weight": 0.5},
        {"consistency_weight": 5.0, "generator_steps": 2},
        {"consistency_weight": 5.0, "consistency_disturbance": "blur"},
        {"precision": "bfloat16"},
        {"dataset": "cifar10", "teacher": "wrn-10-2", "student": "wrn-10-1", "student_steps": 3},
    ],
    ids=[
        *("plain", "several generator steps", "fresh latents", "scored batch", "entropies and diversity", "noise"),
        *("blur", "bfloat16", "wide resnets"),
    ],
)
def test_a_recorded_loop_does_what_the_loop_does(
    gpu_like: list[Tape], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    settings: dict[str, Any] = {"total_pseudo_batches": BATCHES, "evaluation_interval": BATCHES // 2, **changes}
    plain, recorded = make_distiller(**settings), make_distiller(**settings, cuda_graphs=True)
    # Looked at as the other one is: torch takes some operations apart otherwise then, with other bits.
    monkeypatch.setattr(plain, "_launch", lambda *inputs: Tape.of(partial(plain._learn, *inputs)))
    for _ in range(2):
        assert without_seconds(plain.advance()) == without_seconds(recorded.advance())
    assert_equal(plain, recorded)
    # Three to warm up, three replayed; learning rates, latents and noise differ in each of them.
    assert [tape.replays for tape in gpu_like] == [3]


def test_a_recording_is_made_anew_from_a_checkpoint(gpu_like: list[Tape]) -> None:
    settings: dict[str, Any] = {"total_pseudo_batches": 12, "evaluation_interval": 4, "cuda_graphs": True}
    whole, half = make_distiller(**settings), make_distiller(**settings)
    for _ in range(2):
        whole.advance()
        half.advance()
    state = checkpoint.parse(checkpoint.dump(half.state_dict()), origin="test")
    half.advance()
    half.load_state_dict(state)  # its recording still knows the moments of before
    report = half.advance()
    assert without_seconds(report) == without_seconds(whole.advance())
    assert_equal(whole, half)
    assert len(gpu_like) == 3


def test_a_checkpoint_of_a_gpu_goes_on_on_a_cpu_and_back(gpu_like: list[Tape], monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"total_pseudo_batches": 8, "evaluation_interval": 4, "cuda_graphs": True}
    on_gpu = make_distiller(**settings)
    on_gpu.advance()
    state = checkpoint.parse(checkpoint.dump(on_gpu.state_dict()), origin="test")
    on_gpu.advance()
    with monkeypatch.context() as patch:
        patch.setattr(distiller, "is_asynchronous", lambda device: False)
        on_cpu = make_distiller(**settings)
        assert on_cpu.notes == ["cuda_graphs=true has no effect on a CPU; CUDA graphs need a GPU"]
        on_cpu.load_state_dict(state)
        on_cpu.train(2)
    on_gpu.load_state_dict(checkpoint.parse(checkpoint.dump(on_cpu.state_dict()), origin="test"))
    on_gpu.train(2)
    assert on_gpu.finished


def test_adam_in_one_kernel_is_adam_but_for_rounding(gpu_like: list[Tape], monkeypatch: pytest.MonkeyPatch) -> None:
    one_kernel = make_distiller(dtype=torch.float64)
    monkeypatch.setattr(distiller, "is_asynchronous", lambda device: False)
    usual = make_distiller(dtype=torch.float64)
    assert one_kernel.student_optimizer.defaults["fused"] and not usual.student_optimizer.defaults["fused"]
    one_kernel.train(3)
    usual.train(3)
    for name, value in bits(usual).items():
        # The rate and what follows from it are in float32 on a GPU.
        assert torch.allclose(bits(one_kernel)[name].double(), value.double(), rtol=1e-5, atol=1e-7), name


def test_the_tape_sees_what_a_graph_cannot_hold() -> None:
    # Guards the tests before: a loop that waits for the device, or whose numbers come from Python, would not pass.
    values = torch.ones(3)
    with pytest.raises(RecordingError, match="waits for the device"):
        Tape.of(lambda: values.mul_(float(values.sum())))
    with pytest.raises(RecordingError, match="made from Python numbers"):
        Tape.of(lambda: values.add_(torch.tensor([1.0, 2.0, 3.0])))
    rate = 1.0
    tape = Tape.of(lambda: values.add_(rate))
    tape.replay()
    rate = 5.0
    tape.replay()
    assert values.tolist() == [3.0] * 3


def test_exact_numerics_exclude_a_recording() -> None:
    with pytest.raises(ValueError, match=r"numerics=exact excludes .* cuda_graphs=true; allowed: .* cuda_graphs=false"):
        ZeroShotConfig(teacher="wrn-16-2", student="wrn-16-1", numerics="exact", cuda_graphs=True)


@NEEDS_A_GPU
def test_a_gpu_records_and_says_why_where_it_cannot() -> None:
    gpu = torch.device("cuda")
    settings: dict[str, Any] = {"total_pseudo_batches": BATCHES, "evaluation_interval": BATCHES, "numerics": "fast"}
    plain, recorded = make_distiller(**settings, device=gpu), make_distiller(**settings, device=gpu, cuda_graphs=True)
    plain.advance()
    recorded.advance()
    for name, value in bits(plain).items():
        assert torch.allclose(bits(recorded)[name].double(), value.double(), rtol=1e-3, atol=1e-5), name
    values, stream = torch.ones(3, device=gpu), torch.cuda.current_stream()
    with pytest.raises(RecordingError, match="cannot be recorded here"):
        graphs.record(lambda: values.mul_(float(values.sum())))
    assert torch.cuda.current_stream() == stream
    add = graphs.record(lambda: values.add_(1))
    add()
    assert values.tolist() == [2.0] * 3
