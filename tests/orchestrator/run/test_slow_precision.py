"""``precision=bfloat16`` on a machine without instructions for it: said before anything starts, and by ``zskt plan``."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution

from orchestrator.commands.doctor import wants_bfloat16
from orchestrator.commands.plan_page import plan_sentences
from orchestrator.config import SweepConfig
from orchestrator.costs.estimate import make_plan
from orchestrator.run.checks import check_precision_here
from tests.support.tiny import tiny_settings
from trainables.errors import PrecisionError

HALF: dict[str, Any] = {"precision": "bfloat16"}
MEANT: dict[str, Any] = {"allow_slow_precision": True}
SEARCHED: dict[str, BaseDistribution] = {"precision": CategoricalDistribution(["float32", "bfloat16"])}


@pytest.fixture(autouse=True)
def old_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType({"avx2": True}))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def search(gpu: float = 0, **trial: Any) -> SweepConfig:
    settings = {"name": "a", "trial": tiny_settings(**trial), "num_trials": 2, "resources": {"gpu": gpu}}
    return SweepConfig.model_validate(settings)


def searching(**trial: Any) -> SweepConfig:
    space = {"precision": {"type": "categorical", "choices": ["float32", "bfloat16"]}}
    return SweepConfig.model_validate({"name": "a", "trial": tiny_settings(**trial), "space": space, "num_trials": 2})


def comparison(**case: Any) -> SweepConfig:
    cases = {"baseline": {}, "half": {**HALF, **case}}
    return SweepConfig.model_validate({"name": "a", "trial": tiny_settings(), "cases": cases, "objective": None})


@pytest.mark.parametrize(
    ("sweep", "domains"),
    [(search(**HALF), {}), (comparison(), {}), (search(), SEARCHED)],
    ids=["fixed", "in a case", "searched"],
)
def test_one_machine_is_told_before_anything_starts(sweep: SweepConfig, domains: dict[str, BaseDistribution]) -> None:
    with pytest.raises(PrecisionError, match="^precision=bfloat16: .* allow_slow_precision=true"):
        check_precision_here(sweep, domains, hosts=1)
    check_precision_here(sweep, domains, hosts=2)  # whose trials find out for themselves


@pytest.mark.parametrize(
    ("sweep", "domains"),
    [
        (search(), {}),
        (search(**HALF, **MEANT), {}),
        (search(**MEANT), SEARCHED),
        (comparison(**MEANT), {}),
        (search(gpu=1, **HALF), {}),
    ],
    ids=["float32", "fixed and meant", "searched and meant", "in a case and meant", "on a GPU"],
)
def test_what_is_meant_or_runs_elsewhere_is_not_refused(
    sweep: SweepConfig, domains: dict[str, BaseDistribution]
) -> None:
    check_precision_here(sweep, domains, hosts=1)


@pytest.mark.parametrize(
    ("sweep", "wanted"),
    [(search(**HALF), True), (comparison(), True), (searching(), True), (search(), False), (searching(**MEANT), False)],
    ids=["fixed", "in a case", "searched", "float32", "searched and meant"],
)
def test_doctor_and_plan_look_at_all_that_a_sweep_would_refuse(sweep: SweepConfig, wanted: bool) -> None:
    assert wants_bfloat16(sweep) == wanted
    assert bool(make_plan(sweep).refusals_here) == wanted


def test_a_plan_says_that_this_machine_would_refuse_it() -> None:
    assert not make_plan(comparison(**MEANT)).refusals_here
    last = plan_sentences(make_plan(comparison()))[-1]
    assert last.startswith("Not on this machine: precision=bfloat16: ")
