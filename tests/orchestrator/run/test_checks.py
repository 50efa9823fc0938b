"""Losses that no trial could learn by, refused before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.run.checks import check_before_start
from orchestrator.search.space import resolve_domains
from orchestrator.storage import SweepStore, open_storage
from tests.support.tiny import tiny_settings
from trainables.errors import DivergenceError, NetworkError

FILE = """
from torch import nn

def one_logit():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(1))

def scalar(student, teacher):
    return (student - teacher).pow(2).mean()
"""


def check(sweep: SweepConfig, folder: Path) -> None:
    _, domains = resolve_domains(sweep)
    check_before_start(sweep, SweepStore(open_storage(str(folder)), "a"), domains)


def searched(field: str, **domain: Any) -> dict[str, Any]:
    return {"space": {field: domain, "temperature": {"type": "float", "low": 1, "high": 2}}}


@pytest.mark.parametrize(
    ("assigned", "flags"),
    [
        (["student=resnet-18"], {}),
        (["teacher=wrn-16-1"], {}),
        (["student=resnet-18"], searched("attention_weight", type="categorical", choices=[0.0, 250.0])),
        (["student=resnet-18"], searched("attention_weight", type="float", low=0.0, high=250.0)),
    ],
)
def test_attention_between_networks_that_do_not_fit(assigned: list[str], flags: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="attention_weight=250: the activations of .* allowed: attention_weight=0"):
        check(load_sweep("quickstart", assignments=assigned, flags=flags), tmp_path)


def test_attention_with_a_student_that_is_searched(tmp_path: Path) -> None:
    trial = {field: value for field, value in tiny_settings().items() if field != "student"}
    space = searched("student", type="categorical", choices=["lenet", "resnet-18"])
    with pytest.raises(ConfigError, match="activations of resnet-18 .* and lenet .* differ in size"):
        check(SweepConfig.model_validate({"name": "tiny", "trial": trial, **space}), tmp_path)


def test_every_network_of_a_space_is_tried_out(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    trial = {field: value for field, value in tiny_settings().items() if field != "student"} | {"attention_weight": 0.0}
    space = searched("student", type="categorical", choices=["lenet", f"{file}:one_logit"])
    with pytest.raises(
        NetworkError, match=r"mine.py:one_logit returns tensors of shape .* expected are logits \(2, 10\)"
    ):
        check(SweepConfig.model_validate({"name": "tiny", "trial": trial, **space}), tmp_path)


@pytest.mark.parametrize("assigned", [[], ["student=resnet-18", "attention_weight=0"]])
def test_networks_that_fit_or_are_not_compared(assigned: list[str], tmp_path: Path) -> None:
    check(load_sweep("quickstart", assignments=assigned), tmp_path)


@pytest.mark.parametrize("role", ["student", "generator"])
@pytest.mark.parametrize("is_searched", [False, True])
def test_a_divergence_by_which_nobody_learns(role: str, is_searched: bool, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    name = f"{file}:scalar"
    space = searched(f"{role}_divergence", type="categorical", choices=["l1", name])
    sweep = (
        load_sweep("quickstart", flags=space)
        if is_searched
        else load_sweep("quickstart", assignments=[f"{role}_divergence={name}"])
    )
    with pytest.raises(DivergenceError, match=f"^{role}_divergence: .*mine.py:scalar returns shape"):
        check(sweep, tmp_path)
