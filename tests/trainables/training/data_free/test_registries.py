"""Every piece that a data-free trial can name: it is there, says where it comes from, has bounds, and does something."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from annotated_types import Ge, Gt
from pydantic import ValidationError

from tests.support.compositions import make_config, make_engine
from trainables.config.data_free.config import DataFreeConfig
from trainables.config.data_free.pieces import GATES, POOLS, SCHEDULES, SOURCES, TERMS
from trainables.config.plugins import load
from trainables.training.data_free.pools.policies import PoolPolicy
from trainables.training.data_free.sources.base import Source
from trainables.training.data_free.terms.base import Term

BATCH_NORM = {"teacher": "wrn-10-1", "attention_weight": 0.0}


def student_after(**changes: Any) -> torch.Tensor:
    """All weights of a student after two pseudo batches."""
    engine = make_engine(total_pseudo_batches=8, **changes)
    while engine.done < 2:
        engine.step()
    return torch.cat([weight.flatten() for weight in engine.student.parameters()])


@pytest.mark.parametrize("name", TERMS)
def test_each_term_changes_the_student_in_proportion_to_its_factor_and_has_bounds(name: str) -> None:
    assert issubclass(load(TERMS[name]), Term)
    base = BATCH_NORM if name == "batch_norm" else {}
    field = f"{name}_weight"
    other = 0.5 if name == "adversarial" else 1.0
    assert not torch.equal(student_after(**base), student_after(**base, **{field: other}))
    bounds = [bound for bound in DataFreeConfig.model_fields[field].metadata if isinstance(bound, Ge | Gt)]
    assert bounds
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValidationError):
            make_config(**base, **{field: wrong})
    assert DataFreeConfig.descriptions()[field].startswith(f"Factor in the source's loss of ``{name}``. ")


@pytest.mark.parametrize("name", SOURCES.own)
def test_each_source_makes_images_of_its_own(name: str) -> None:
    source = SOURCES.load(name)
    assert issubclass(source, Source)
    assert "20" in str(inspect.getdoc(source)) or name == "generator"  # a year, but for what the whole project is about
    students = {other: student_after(source=other, generator_steps=2) for other in SOURCES.own}
    assert all(not torch.equal(students[name], weights) for other, weights in students.items() if other != name)


@pytest.mark.parametrize("name", POOLS.own)
def test_each_policy_gives_the_student_other_images(name: str) -> None:
    assert issubclass(POOLS.load(name), PoolPolicy)
    settings = {"pool_size": 6, "view": "none", "pool_precision": "float32"}
    students = {other: student_after(pool=other, **settings) for other in POOLS.own}
    assert all(not torch.equal(students[name], weights) for other, weights in students.items() if other != name)


@pytest.mark.parametrize("name", GATES.own)
def test_each_gate_lets_some_pass(name: str) -> None:
    assert inspect.getdoc(GATES.load(name))
    settings: dict[str, Any] = {"batch_size": 16, "gate_threshold": 0.12}
    assert not torch.equal(student_after(**settings), student_after(gate=name, **settings))


@pytest.mark.parametrize("name", SCHEDULES.own)
def test_each_schedule_stays_between_nothing_and_its_initial_rate(name: str) -> None:
    schedule = SCHEDULES.load(name)
    for total in (1, 2, 7, 100):
        rates = [schedule(0.3, step, total) for step in range(total)]
        assert all(0 <= rate <= 0.3 for rate in rates)
        assert max(rates) == pytest.approx(0.3, rel=0.06)
