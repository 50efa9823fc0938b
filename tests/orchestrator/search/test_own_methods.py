"""Searches, schedulers and reports ask a method's config what it can do, whatever the method's name is."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

import pytest

from orchestrator.analysis.leaderboard import read_leaderboard
from orchestrator.commands.confirm import confirmation_sweep
from orchestrator.config import BASELINE
from orchestrator.config.budget import BudgetConfig
from orchestrator.report.data import read_sweep
from orchestrator.report.figures.style import setting_axis
from orchestrator.report.sections.search import scores_section
from orchestrator.samplers.tpe import Tpe
from orchestrator.schedulers.pbt import Pbt
from orchestrator.storage import SweepStore
from tests.support.synthetic import write_search
from trainables.config import METHODS, Count, SupervisedConfig, TrialConfig
from trainables.config.base import Passes
from trainables.config.methods import Method
from trainables.config.roles import Cost, Names, given, length
from trainables.storage.object_store import ObjectStore


class PartsConfig(TrialConfig):
    """A method that can be trained in parts, and whose length is a field of another name than the built-in ones."""

    unit: ClassVar[str] = "epochs"
    budget_field: ClassVar[str | None] = "laps"
    divisible: ClassVar[bool] = True

    method: Annotated[Literal["parts"], given(cost=Cost.EQUAL, names=Names.NOTHING, inherited=True)] = "parts"
    laps: Annotated[Count, length(cost=Cost.AMOUNT)] = 4

    @property
    def budget(self) -> int:
        return self.laps

    @property
    def passes_per_step(self) -> Passes:
        return Passes(student=3, teacher=0, generator=0, updates=1)

    def scaled(self, fraction: float) -> Self:
        return self.model_copy(update={"laps": max(1, round(fraction * self.laps))})


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> PartsConfig:
    """A trial of a method that is registered for the length of a test."""
    monkeypatch.setitem(METHODS, "parts", Method(f"{__name__}:PartsConfig", METHODS["supervised"].training))
    return PartsConfig()


def test_a_population_may_train_by_any_method_that_can_be_divided(parts: PartsConfig) -> None:
    Pbt(generations=4).check(parts, equal_budget=False, sampler=Tpe())
    with pytest.raises(ValueError, match="generations=5 is more than the 4 epochs of a trial"):
        Pbt(generations=5).check(parts, equal_budget=False, sampler=Tpe())
    with pytest.raises(ValueError, match=r"use trial: \{laps: \.\.\.\}"):
        Pbt(generations=4).check(parts, equal_budget=True, sampler=Tpe())
    with pytest.raises(ValueError, match="is for zero_shot or data_free or parts trials, and these are supervised"):
        Pbt(generations=4).check(SupervisedConfig(), equal_budget=False, sampler=Tpe())


def test_a_confirmation_keeps_the_length_of_each_setting(parts: PartsConfig, store: ObjectStore) -> None:
    write_search(store, "a")
    board = read_leaderboard(SweepStore(store, "a"))
    budget = BudgetConfig(unit="student_updates", amount=4000)
    trial = {"method": parts.method, "dataset": "digits", "student": "lenet"}
    sweep = board.sweep.model_copy(update={"trial": trial, "space": {}, "budget": budget})
    settings = parts.model_dump() | {"laps": 3, "evaluation_interval": 1}
    rows = [
        replace(row, settings={**row.settings, **settings, "batch_size": 64 + row.trial_number}) for row in board.rows
    ]
    _, confirming = confirmation_sweep(replace(board, sweep=sweep, rows=rows, searched=["batch_size"]), top=1, seeds=1)
    lengths = {case: fields["laps"] for case, fields in confirming.cases.items()}
    assert lengths.pop(BASELINE) == sweep.trial_config({}).budget
    assert set(lengths.values()) == {3}


def test_only_students_that_see_no_images_are_ranked_without_data(store: ObjectStore) -> None:
    write_search(store, "a")
    data = read_sweep(SweepStore(store, "a"))
    assert scores_section(data).blocks
    supervised = data.sweep.model_copy(update={"trial": {"method": "supervised", "dataset": "digits"}})
    assert not scores_section(replace(data, sweep=supervised)).blocks


@pytest.mark.parametrize(
    ("setting", "logarithmic"), [("student_lr", True), ("learning_rate", True), ("latent_dim", False)]
)
def test_a_setting_that_counts_by_its_factor_has_a_logarithmic_axis(setting: str, logarithmic: bool) -> None:
    assert (setting_axis(setting, [0.1, 1.0]).get("type") == "log") == logarithmic
