from __future__ import annotations

import pytest
import torch

from tests.support.missing import NEEDS_NO_GPU
from trainables.compute.devices import claim_device, device_name, peak_memory


def test_the_cpu_has_a_name_for_people() -> None:
    name = device_name(torch.device("cpu"))
    assert name == name.strip() != ""


@pytest.mark.parametrize(("gpus", "cap"), [(0.25, [0.25]), (1, [1.0]), (2, [1.0]), (0, [])])
def test_a_part_of_a_gpu_is_that_part_of_its_memory(
    gpus: float, cap: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    caps: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", caps.append)
    assert claim_device(cpus=1, gpus=gpus).type == ("cuda" if gpus else "cpu")
    assert caps == cap


@NEEDS_NO_GPU
def test_a_gpu_that_torch_does_not_see_is_the_cpu() -> None:
    assert claim_device(cpus=1, gpus=0.5).type == "cpu"


def test_memory_that_a_process_needs_is_torchs_highest_and_what_lies_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_memory(torch.device("cpu")) == 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 16_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5_500)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 7_000)
    assert peak_memory(torch.device("cuda")) == 7_000 + 500
