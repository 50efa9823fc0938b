from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config import SweepConfig
from orchestrator.config.budget import BudgetConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from tests.support.tiny import make_distiller
from trainables.compute.flops import step_flops
from trainables.config import ZeroShotConfig


def sweep_with(budget: dict[str, Any], **trial: Any) -> SweepConfig:
    fixed = {"dataset": "digits", "teacher": "lenet", "student": "lenet", **trial}
    space = {"student_steps": {"type": "int", "low": 1, "high": 20}}
    return SweepConfig.model_validate({"name": "a", "trial": fixed, "space": space, "budget": budget})


def trial_of(sweep: SweepConfig, student_steps: int) -> ZeroShotConfig:
    config = sweep.trial_config({"student_steps": student_steps})
    assert isinstance(config, ZeroShotConfig)
    return config


def test_with_student_updates_1_to_1_and_1_to_20_end_alike_and_both_finish_their_cosine() -> None:
    sweep = sweep_with({"unit": "student_updates", "amount": 40, "reports": 2}, batch_size=4, generator_width=4)
    ends = []
    for student_steps in (1, 20):
        config = trial_of(sweep, student_steps)
        distiller = make_distiller(**config.model_dump())
        while not distiller.finished:
            report = distiller.advance()
        ends.append(report)
        assert distiller._rate(1.0, distiller.pseudo_batches) == pytest.approx(0, abs=1e-12)
        assert sweep.budget_used(config, report) == 40 == sweep.trial_budget
    assert [end["student_updates"] for end in ends] == [40, 40]
    assert [end["pseudo_batches"] for end in ends] == [40, 2]


def test_early_stopping_compares_equal_shares() -> None:
    sweep = sweep_with({"unit": "student_updates", "amount": 200})
    halves = [
        sweep.budget_used(trial_of(sweep, steps), {"pseudo_batches": trial_of(sweep, steps).budget // 2})
        for steps in (1, 10)
    ]
    assert halves == [100, 100]


def test_with_flops_the_cheaper_pseudo_batch_gets_more_of_them() -> None:
    sweep = sweep_with({"unit": "flops", "amount": 10**14})
    few, many = trial_of(sweep, 1), trial_of(sweep, 20)
    assert few.budget > many.budget
    for config in (few, many):
        assert config.budget * step_flops(config) == pytest.approx(10**14, rel=0.02)


def test_a_pseudo_batch_has_the_operations_of_the_published_pair() -> None:
    # 413 GFLOP without redundant work, as the benchmark counts them in the exact loop, but for the student's first
    # convolution, whose input needs no gradient.
    config = ZeroShotConfig(teacher="wrn-16-2", student="wrn-16-1")
    assert step_flops(config) == pytest.approx(413e9, rel=0.01)


def test_operations_follow_the_loop() -> None:
    base = ZeroShotConfig(teacher="lenet", student="lenet", dataset="digits")

    def more(**changes: Any) -> int:
        return step_flops(base.model_copy(update=changes)) - step_flops(base)

    assert more(student_steps=11) * 2 == more(student_steps=12) > 0
    assert more(generator_steps=2) > more(student_steps=11)
    assert more(latents="fresh") > 0
    assert more(student_batch="scored") < 0
    assert more(batch_size=256) == step_flops(base)


@pytest.mark.parametrize("unit", ["flops", "student_updates", "pseudo_batches"])
def test_a_trial_of_cases_has_used_half_of_a_budget_in_any_unit_after_half_of_its_pseudo_batches(unit: str) -> None:
    trial = {"dataset": "digits", "teacher": "lenet", "student": "lenet"}
    amount = 10**14 if unit == "flops" else 400
    cases = {"few": {"student_steps": 1}, "many": {"student_steps": 20}, "own": {"total_pseudo_batches": 8}}
    sweep = SweepConfig.model_validate(
        {"name": "a", "trial": trial, "cases": cases, "budget": {"unit": unit, "amount": amount}}
    )
    for config in sweep.configs():
        for done, share in ((0, 0), (config.budget / 2, 0.5), (config.budget, 1)):
            assert sweep.share_used(config, {"pseudo_batches": done}) == pytest.approx(share, abs=0.01), config


def test_a_trials_own_total_goes_before_the_budget() -> None:
    sweep = sweep_with({"unit": "student_updates", "amount": 40}, total_pseudo_batches=7)
    assert trial_of(sweep, 20).budget == 7


def test_reports_are_at_equal_shares_unless_an_interval_is_given() -> None:
    sweep = sweep_with({"unit": "student_updates", "amount": 2000, "reports": 10})
    assert [trial_of(sweep, steps).report_interval for steps in (1, 20)] == [200, 10]
    assert trial_of(sweep_with({"unit": "pseudo_batches", "amount": 50}, evaluation_interval=7), 1).report_interval == 7


def test_supervised_trials_have_no_such_budget() -> None:
    with pytest.raises(ConfigError, match="budget is for zero_shot or data_free trials, and this one is supervised"):
        SweepConfig.model_validate(
            {"name": "a", "trial": {"method": "supervised"}, "budget": {"unit": "student_updates", "amount": 10}}
        )


def test_amounts_are_checked() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        BudgetConfig(unit="flops", amount=0)


def test_a_field_that_a_later_version_adds_gives_a_sweep_no_other_id() -> None:
    plain = SweepConfig.model_validate({"name": "a", "trial": {"dataset": "digits"}})
    said = SweepConfig.model_validate({"name": "a", "trial": {"dataset": "digits"}, "budget": None, "seed": 0})
    other = SweepConfig.model_validate({"name": "a", "trial": {"dataset": "digits"}, "seed": 1})
    assert plain.default_sweep_id == said.default_sweep_id != other.default_sweep_id


def test_a_speed_that_was_measured_stays_with_the_sweep_and_one_that_is_given_is_kept_to() -> None:
    asked = sweep_with({"unit": "seconds", "amount": 40})
    measured = asked.with_speed(1e12)
    assert asked.continuing(measured) == measured
    assert asked.continuing(asked) == asked
    given = asked.with_speed(2e12)
    assert given.continuing(measured) == given
    other = sweep_with({"unit": "student_updates", "amount": 40})
    assert other.continuing(measured) == other


def test_what_a_sweep_may_spend_is_the_same_sweep_and_changes_no_trial() -> None:
    plain = sweep_with({"unit": "student_updates", "amount": 40})
    limited = sweep_with({"unit": "student_updates", "amount": 40, "usd": 50, "gpu_hours": 20})
    assert limited.default_sweep_id == plain.default_sweep_id
    assert limited.identity == plain.identity
    assert limited.equal_budget == plain.equal_budget
    without = SweepConfig.model_validate({**plain.model_dump(), "budget": None})
    only_limited = SweepConfig.model_validate({**plain.model_dump(), "budget": {"usd": 50}})
    assert only_limited.default_sweep_id == without.default_sweep_id != plain.default_sweep_id
    assert only_limited.equal_budget is None
    assert only_limited.trial_config({}) == without.trial_config({})


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"unit": "flops"}, "unit without amount"),
        ({"amount": 3}, "amount without unit"),
        ({"reports": 3}, "expected unit and amount for each trial, or usd or gpu_hours for all"),
        ({"usd": 0}, "greater than 0"),
        ({"gpu_hours": 1, "flops_per_second": 1e9}, "flops_per_second is for unit: seconds"),
        ({"gpu_hours": 1, "reports": 5}, "reports is for trials with unit and amount"),
    ],
)
def test_a_budget_says_what_it_is_of(budget: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BudgetConfig.model_validate(budget)


def test_limits_by_flag_stand_beside_what_the_file_says_of_each_trial(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    trial = {"dataset": "digits", "teacher": "lenet", "student": "lenet"}
    space = {"temperature": {"type": "float", "low": 1, "high": 4}}
    budget = {"unit": "flops", "amount": 10**13, "usd": 50}
    file.write_text(yaml.safe_dump({"name": "mine", "trial": trial, "space": space, "budget": budget}))
    found = load_sweep(str(file), flags={"budget": {"usd": 80.0, "gpu_hours": 20.0}}).budget
    assert found == BudgetConfig(unit="flops", amount=10**13, usd=80, gpu_hours=20)


def test_a_budget_that_is_worth_less_than_a_pseudo_batch_is_refused() -> None:
    sweep = {"name": "dear", "description": "", "cases": {"a": {"method": "data_free", "student_steps": 400}}}
    budget = {"unit": "student_updates", "amount": 100}
    with pytest.raises(ConfigError, match=r"100 student updates are 0\.25 of what one of the pseudo batches"):
        SweepConfig.model_validate({**sweep, "budget": budget})
    SweepConfig.model_validate({**sweep, "budget": {**budget, "amount": 300}})
