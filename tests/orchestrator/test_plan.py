from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cluster.prices import Machine, Price, PriceList
from orchestrator.cli import app
from orchestrator.config import SweepConfig
from orchestrator.earlier import earlier_trials
from orchestrator.errors import ConfigError
from orchestrator.loading import load_sweep
from orchestrator.market import Market, find_market
from orchestrator.plan import make_plan
from orchestrator.results import ResultWriter, read_trials
from tests.conftest import tiny_settings
from tests.orchestrator.report.synthetic import write_search
from trainables.config import ZeroShotConfig
from trainables.flops import pseudo_batch_flops
from trainables.object_store import ObjectStore

ROOT = Path(__file__).parents[2]
PRICES = PriceList(prices={"box": Price(on_demand=36, spot=3.6), "large": Price(on_demand=360)})
BOX = Machine(name="box", spot=False, cpus=2, gpus=0)


def test_a_plan_counts_trials_updates_and_teachers() -> None:
    sweep = SweepConfig.model_validate(
        {
            "name": "tiny",
            "trial": {**tiny_settings(), "validation_fraction": 0},
            "cases": {"plain": {}, "twice": {"student_steps": 4}},
            "seeds": [0, 1, 2],
            "teacher_recipe": {"full_data_epochs": 3, "batch_size": 64},
        }
    )
    teacher, plain, twice = make_plan(sweep).costs
    assert (teacher.name, teacher.trials, teacher.budget, teacher.student_updates) == (
        "teacher lenet on digits",
        1,
        3,
        189,
    )
    assert (plain.trials, plain.budget, plain.student_updates) == (3, 4, 8)
    assert twice.student_updates == 16
    assert make_plan(sweep).hours > 0
    few_images = {"method": "supervised", "dataset": "digits", "student": "lenet", "images_per_class": 10}
    supervised = SweepConfig.model_validate({"name": "tiny", "cases": {"few": few_images}})
    (few,) = make_plan(supervised).costs
    assert (few.unit, few.budget, few.student_updates) == ("epochs", 8000, 8000)


def tiny(**changes: object) -> SweepConfig:
    trial = {**tiny_settings(), "validation_fraction": 0.5, **changes}
    return SweepConfig.model_validate(
        {
            "name": "tiny",
            "trial": trial,
            "space": {"temperature": {"type": "float", "low": 1, "high": 4}},
            "num_trials": 4,
        }
    )


def test_money_lies_between_the_cheapest_machine_that_holds_a_trial_and_the_dearest() -> None:
    spot, small = (Machine(name=name, spot=True, cpus=cpus, gpus=0) for name, cpus in (("box", 2), ("large", 0)))
    plan = make_plan(tiny(), market=Market(machines=(BOX, spot, small), prices=PRICES))
    teacher, trial = plan.costs
    assert trial.usd == pytest.approx((trial.seconds * 1.8 / 3600, trial.seconds * 18 / 3600))
    assert plan.usd == pytest.approx((plan.hours * 1.8, plan.hours * 18))
    assert plan.gpu_hours == teacher.gpu_hours == 0
    assert plan.sentences()[0].startswith("5 trials, no GPU hours, ")
    assert make_plan(tiny()).sentences()[0] == "5 trials, no GPU hours, at an unknown price."


def test_a_gpu_that_is_not_here_has_no_price_from_hours_of_cores() -> None:
    sweep = tiny().with_resources(gpu="auto")
    assert make_plan(sweep, market=Market(machines=(BOX,), prices=PRICES)).usd is None


def test_transition_curves_are_counted() -> None:
    few, many = (make_plan(tiny(transition_images=images)).costs[-1].seconds for images in (0, 200))
    assert many > few + 1  # 200 images, 9 classes, 100 steps of two networks


def test_earlier_trials_of_the_same_kind_tell_better(store: ObjectStore) -> None:
    sweep = write_search(store, "earlier", trials=3)
    config = sweep.configs()[0]
    assert isinstance(config, ZeroShotConfig)
    work = pseudo_batch_flops(config) * config.budget
    for row, factor in zip(read_trials(store, "earlier").to_pylist(), (1, 2, 4), strict=True):
        row |= {"training_flops": work / factor, "training_seconds": 90.0, "evaluation_seconds": 10.0, "device": "cuda"}
        row |= {"gpu_seconds": 1800.0, "cost_usd": 0.5, "node_type": "g6.xlarge"}
        del row["sweep_id"]
        ResultWriter(store, "earlier").write_trial(row)
    found = earlier_trials(store, config, on_gpu=True)
    assert found
    assert (found.trials, found.machines) == (3, ["g6.xlarge"])
    assert (found.seconds, found.gpu_hours) == pytest.approx((200, 1))
    assert found.usd == pytest.approx((0.5, 2.0))
    assert earlier_trials(store, config, on_gpu=False) is None
    assert earlier_trials(store, config.model_copy(update={"student": "wrn-16-1"}), on_gpu=True) is None
    planned = sweep.model_copy(update={"num_trials": 10, "teachers": {"lenet": "lenet.pt"}}).with_resources(gpu=1)
    plan = make_plan(planned, store=store)
    assert plan.gpu_hours == pytest.approx(10)
    assert plan.usd == pytest.approx((5.0, 20.0))
    assert plan.sentences() == [
        "10 trials, 10 GPU hours, 5.00 to 20.00 USD.",
        "Measured by 3 trials of earlier sweeps on g6.xlarge.",
    ]


def test_the_market_is_the_cluster_that_is_named(tmp_path: Path) -> None:
    sweep = load_sweep("quickstart")
    ours = find_market(sweep, ROOT / "cluster.yaml")
    assert {str(machine) for machine in ours.machines} == {
        "m6i.xlarge (on demand)",
        "g6.xlarge (spot)",
        "g5.xlarge (spot)",
        "g6.xlarge (on demand)",
    }
    assert ours.range(3600, cpus=1, gpus=0.5) == pytest.approx((0.21, 0.4024))
    assert ours.range(3600, cpus=1, gpus=2) is None
    with pytest.raises(ConfigError, match="there is no such file"):
        find_market(sweep, tmp_path / "cluster.yaml")
    with pytest.raises(ConfigError, match="prices: .*cannot be read"):
        find_market(load_sweep("quickstart", flags={"prices": str(tmp_path / "prices.yaml")}), None)


def test_the_command_says_trials_hours_and_money(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny().model_dump(mode="json") | {"storage": str(tmp_path / "runs")}))
    result = CliRunner().invoke(app, ["plan", str(file), "--cluster", str(ROOT / "cluster.yaml")])
    assert result.exit_code == 0, result.output
    assert "5 trials, no GPU hours, 0.0" in result.output
    assert "of this machine, estimated from a probe of a few steps." in result.output
