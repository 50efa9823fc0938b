from __future__ import annotations

import torch

from trainables.devices import device_name


def test_the_cpu_has_a_name_for_people() -> None:
    name = device_name(torch.device("cpu"))
    assert name == name.strip() != ""
