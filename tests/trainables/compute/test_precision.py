"""Machines without instructions for bfloat16; what torch says of this one is put in its place."""

from __future__ import annotations

from types import MappingProxyType

import pytest
import torch

from tests.support.tiny import tiny_settings
from tests.support.trial_runs import config, start
from trainables.compute.precision import bfloat16_instructions, check_precision, why_slow
from trainables.config import SupervisedConfig, ZeroShotConfig
from trainables.errors import PrecisionError
from trainables.trial_result import FAILURE

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def give(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    """Have torch say that the processor has these capabilities and no others."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(capabilities))


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True}, None),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, None),
        ({"avx512_bf16": True}, "AVX512_BF16"),
        ({"avx512_bf16": True, "amx_bf16": True}, "AMX_BF16"),
        ({"neon": True, "bf16": True}, "Arm's BF16"),
        ({"bf16": True, "sve_bf16": True}, "SVE_BF16"),
    ],
)
def test_what_a_processor_has(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: str | None
) -> None:
    give(monkeypatch, **capabilities)
    assert bfloat16_instructions(CPU) == expected


def test_torch_knows_this_processor() -> None:
    # Guards the tests around: the names are torch's.
    known = torch.cpu.get_capabilities()
    expected = {"avx512_bf16", "amx_bf16"} if known["architecture"] == "x86_64" else {"bf16"}
    assert expected <= known.keys()


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_imitates_bfloat16_has_none(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    monkeypatch.setattr("trainables.compute.precision.device_name", lambda device: "Tesla T4")
    reason = why_slow(ZeroShotConfig(precision="bfloat16"), GPU)
    assert (reason is None) == native
    if reason:
        assert reason.startswith(
            "precision=bfloat16: Tesla T4 has no instructions for it and takes longer than for float32"
        )


def test_it_is_refused_with_the_figure_unless_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, avx2=True)
    with pytest.raises(PrecisionError, match=r"2 to 18 times .* 18\.9 s against 0\.97 s.*allow_slow_precision=true"):
        check_precision(ZeroShotConfig(precision="bfloat16"), CPU)
    check_precision(ZeroShotConfig(precision="bfloat16", allow_slow_precision=True), CPU)
    check_precision(ZeroShotConfig(), CPU)
    check_precision(SupervisedConfig(), CPU)
    give(monkeypatch, avx512_bf16=True)
    check_precision(ZeroShotConfig(precision="bfloat16"), CPU)


def test_the_worker_refuses_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, avx2=True)
    result = start(config(precision="bfloat16")).step()
    assert result["done"]
    assert result[FAILURE].startswith("PrecisionError: precision=bfloat16: ")
    assert FAILURE not in start(config(precision="bfloat16", allow_slow_precision=True)).step()
    assert FAILURE not in start(config(**tiny_settings())).step()
