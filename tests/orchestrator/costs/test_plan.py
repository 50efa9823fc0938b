from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from optuna.trial import TrialState, create_trial
from typer.testing import CliRunner

import orchestrator.costs.estimate
from cluster.prices import Machine, Price, PriceList
from orchestrator.cli import app
from orchestrator.commands.plan_page import plan_sentences
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.costs.estimate import Plan, make_plan
from orchestrator.costs.pricing import CORE, Pricing, Span, find_pricing
from orchestrator.errors import ConfigError
from orchestrator.results import ResultWriter, read_trials
from orchestrator.search.study import ASSIGNMENT_ATTRIBUTE, open_study
from orchestrator.storage import SweepStore, find_storage
from orchestrator.storage.layout import TEACHERS
from tests.support.paths import ROOT
from tests.support.plans import tiny
from tests.support.small_searches import TWO, run, search_on, sweep_of
from tests.support.synthetic import write_search
from tests.support.tiny import tiny_settings
from trainables.compute.flops import step_work, trial_work
from trainables.config import ZeroShotConfig
from trainables.profiling.dummies import dummy_teacher
from trainables.profiling.timing import timed_seconds
from trainables.storage.object_store import ObjectStore
from trainables.teachers.registry import TeacherRegistry

PRICES = PriceList(
    prices={
        "box": Price(on_demand=36, spot=3.6),
        "large": Price(on_demand=360),
        "gpu": Price(on_demand=1, tflops=10, gb_per_second=100),
    }
)
BOX = Machine(name="box", spot=False, cpus=2, gpus=0)
GPU = Machine(name="gpu", spot=False, cpus=4, gpus=1)


@pytest.fixture(autouse=True)
def nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan counts, unless it is asked to measure."""

    def timed(*_: object, **__: object) -> float:
        raise AssertionError("something was timed")

    monkeypatch.setattr(orchestrator.costs.estimate, "timed_seconds", timed)
    monkeypatch.setattr(orchestrator.costs.estimate, "flops_per_second", timed)


def text(plan: Plan) -> str:
    return "\n".join(plan_sentences(plan))


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
    assert (teacher.kind.name, teacher.kind.trials, teacher.kind.config.budget, teacher.student_updates) == (
        "teacher lenet on digits",
        1,
        3,
        189,
    )
    assert (plain.kind.trials, plain.kind.config.budget, plain.student_updates) == (3, 4, 8)
    assert twice.student_updates == 16
    subsample_per_class = {"method": "supervised", "dataset": "digits", "student": "lenet", "images_per_class": 10}
    supervised = SweepConfig.model_validate({"name": "tiny", "cases": {"few": subsample_per_class}})
    (few,) = make_plan(supervised).costs
    assert (few.kind.config.unit, few.kind.config.budget, few.student_updates) == ("epochs", 8000, 8000)


def test_a_space_with_an_end_is_priced_as_far_as_it_goes() -> None:
    plan = make_plan(sweep_of(TWO, num_trials=6, scheduler={"name": "none"}))
    assert [cost.kind.trials for cost in plan.costs] == [1, 2]
    assert "All 2 settings of the space are to be tried; 6 trials were asked for." in plan_sentences(plan)
    endless = sweep_of({"temperature": {"type": "float", "low": 1, "high": 2}}, num_trials=6)
    assert make_plan(endless).costs[-1].kind.trials == 6
    assert "settings of the space" not in text(make_plan(endless))


def test_of_a_sweep_that_has_begun_the_rest_is_priced(store: ObjectStore) -> None:
    sweep = sweep_of(TWO, num_trials=6)
    search = search_on(open_study(SweepStore(store, "a"), modes=["max"]), sweep)
    run(search, trials=1)
    plan = make_plan(sweep, past=SweepStore(store, "a"))
    assert (plan.costs[-1].kind.trials, plan.ended) == (1, 1)
    assert "1 trial of this sweep has ended: the plan is for the others" in text(plan)
    assert make_plan(sweep, past=SweepStore(store, "b")).costs[-1].kind.trials == 2
    assert make_plan(sweep, past=SweepStore(store, sweep.default_sweep_id)).ended == 0
    run(search)
    plan = make_plan(sweep, past=SweepStore(store, "a"))
    assert (plan.costs[-1].kind.trials, plan.ended) == (0, 2)
    assert plan.hours == pytest.approx(plan.costs[0].hours), "a teacher is trained"
    assert "All 2 settings of the space have been tried" in text(plan)


def test_of_cases_those_that_have_ended_are_not_priced_again(store: ObjectStore) -> None:
    values = {"name": "a", "trial": tiny_settings(), "cases": {"plain": {}, "twice": {"student_steps": 4}}}
    sweep = SweepConfig.model_validate({**values, "seeds": [0, 1, 2]})
    study = open_study(SweepStore(store, sweep.default_sweep_id), modes=[])
    for seed in (0, 2):
        ended = {ASSIGNMENT_ATTRIBUTE: {"case": "plain", "seed": seed}}
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.0, user_attrs=ended))
    plan = make_plan(sweep, past=SweepStore(store, sweep.default_sweep_id))
    assert [(cost.kind.name, cost.kind.trials) for cost in plan.costs[1:]] == [("plain", 1), ("twice", 3)]
    assert "2 trials of this sweep have ended" in text(plan)


def test_what_was_spent_counts_against_the_limit(store: ObjectStore) -> None:
    write_search(store, "earlier", trials=3)
    rows = read_trials(store, "earlier").to_pylist()
    for row in rows:
        ResultWriter(SweepStore(store, "earlier")).write_trial(
            {**{k: v for k, v in row.items() if k != "sweep_id"}, "gpu_seconds": 12000.0}
        )
    sweep = load_sweep("quickstart", flags={"budget": {"gpu_hours": 12}}).with_resources(gpu=1)
    study = open_study(SweepStore(store, "earlier"), modes=["max"])
    for _ in rows:
        study.add_trial(create_trial(state=TrialState.PRUNED))
    pricing = Pricing(machines=(GPU,), prices=PRICES)
    plan = make_plan(sweep, past=SweepStore(store, "earlier"), pricing=pricing)
    assert plan.spent.gpu_hours == pytest.approx(10)
    least = 10 + (plan.gpu_hours or (0, 0))[0]
    sweep = load_sweep("quickstart", flags={"budget": {"gpu_hours": 0.99 * least}}).with_resources(gpu=1)
    found = text(make_plan(sweep, past=SweepStore(store, "earlier"), pricing=pricing))
    assert "GPU hours, of which 10 are spent, ends it before that." in found
    assert "before that" not in text(make_plan(sweep, past=SweepStore(store, "another"), pricing=pricing))


def test_a_teacher_that_is_there_is_not_trained_again(store: ObjectStore) -> None:
    sweep = tiny()
    assert [cost.kind.name for cost in make_plan(sweep, past=SweepStore(store, sweep.default_sweep_id)).costs] == [
        "teacher lenet on digits",
        "trial",
    ]
    config = sweep.configs()[0]
    TeacherRegistry(store.below(TEACHERS)).add(dummy_teacher(config), sweep.teacher_config(config))
    assert [cost.kind.name for cost in make_plan(sweep, past=SweepStore(store, sweep.default_sweep_id)).costs] == [
        "trial"
    ]


def test_money_lies_between_the_cheapest_machine_that_holds_a_trial_and_the_dearest() -> None:
    spot, small = (Machine(name=name, spot=True, cpus=cpus, gpus=0) for name, cpus in (("box", 2), ("large", 0)))
    plan = make_plan(tiny(), pricing=Pricing(machines=(BOX, spot, small), prices=PRICES))
    trial = plan.costs[-1]
    assert trial.seconds
    assert plan.hours
    assert trial.seconds[1] == pytest.approx(3 * trial.seconds[0])
    assert trial.usd == pytest.approx((trial.seconds[0] * 1.8 / 3600, trial.seconds[1] * 18 / 3600))
    assert plan.usd == pytest.approx((plan.hours[0] * 1.8, plan.hours[1] * 18))
    assert plan.gpu_hours == (0, 0)
    assert plan_sentences(plan)[0].startswith("5 trials, no GPU hours, ")
    assert plan_sentences(make_plan(tiny()))[0] == "5 trials, no GPU hours, at an unknown price."


def test_gpus_that_are_not_here_are_foretold_to_a_factor_of_three() -> None:
    plan = make_plan(load_sweep("paper-table-1"), pricing=Pricing(machines=(GPU,), prices=PRICES))
    assert plan.gpu_hours
    assert plan.usd
    assert plan.gpu_hours[1] == pytest.approx(3 * plan.gpu_hours[0])
    assert plan.usd == pytest.approx(plan.gpu_hours), "a dollar an hour"
    assert 20 < plan.gpu_hours[0] < plan.gpu_hours[1] < 400
    assert "rough rates of GPUs; on one machine the upper end is 3 times the lower" in text(plan)


def test_half_a_gpu_takes_up_to_twice_as_long_and_two_are_one_that_waits() -> None:
    pricing = Pricing(machines=(Machine(name="gpu", spot=False, cpus=4, gpus=2),), prices=PRICES)
    hours: list[Span] = []
    for gpus in (0.5, 1, 2):
        plan = make_plan(load_sweep("cifar10-published").with_resources(gpu=gpus), pricing=pricing)
        assert plan.hours
        assert plan.gpu_hours == pytest.approx((gpus * plan.hours[0], gpus * plan.hours[1]))
        assert ("With 0.5 of a GPU a trial takes as long as with a whole one" in text(plan)) == (gpus < 1)
        assert ("up to 2 times as long" in text(plan)) == (gpus < 1)
        hours.append(plan.hours)
    half, whole, two = hours
    assert half[0] == whole[0] and 1.3 * whole[1] < half[1] <= 2 * whole[1]
    assert two == whole


def test_what_is_timed_on_a_whole_gpu_is_a_span_for_a_part_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrator.costs.estimate, "timed_seconds", lambda *_, **__: 3600.0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    pricing = Pricing(machines=(GPU,), prices=PRICES)
    for gpus, hours in ((0.25, (1, 4)), (1, (1, 1)), (2, (1, 1))):
        trial = make_plan(tiny().with_resources(gpu=gpus), pricing=pricing, measure=print).costs[-1]
        assert trial.hours == pytest.approx(hours)
        assert trial.gpu_hours == pytest.approx((gpus * hours[0], gpus * hours[1]))
        if gpus <= 1:
            assert trial.usd == pytest.approx(trial.gpu_hours), "a dollar an hour"
    quarter = make_plan(tiny().with_resources(gpu=0.25), pricing=pricing, measure=print)
    assert "or up to 4 times as long: hours span this range." in text(quarter)


@pytest.mark.parametrize(
    ("pair", "cpus", "seconds"),
    [
        (("wrn-16-2", "wrn-16-1"), 1, (3.82, 4.90)),
        (("wrn-16-2", "wrn-16-1"), 2, (2.00, 2.70)),
        (("wrn-40-2", "wrn-16-1"), 2, (2.84, 3.54)),
    ],
)
def test_what_was_measured_on_a_cpu_lies_in_what_is_foretold(
    pair: tuple[str, str], cpus: int, seconds: tuple[float, float]
) -> None:
    """Seconds a pseudo batch, of ``fast`` and of ``exact``, from docs/performance.md."""
    for measured in seconds:
        assert f"| {measured:.2f} |" in (ROOT / "docs" / "performance.md").read_text()
    work = step_work(ZeroShotConfig(teacher=pair[0], student=pair[1]))
    foretold = Pricing(machines=(), prices=PRICES).seconds(work, cpus=cpus, gpus=0)
    assert foretold
    assert foretold[0] < seconds[0] < seconds[1] < foretold[1]


def test_a_gpu_whose_speed_nobody_says_is_taken_for_any() -> None:
    unknown = Machine(name="pods", spot=True, cpus=4, gpus=1)
    plan = make_plan(load_sweep("cifar10-published"), pricing=Pricing(machines=(unknown,), prices=PRICES))
    known = make_plan(load_sweep("cifar10-published"), pricing=Pricing(machines=(GPU,), prices=PRICES))
    assert (plan.gpu_hours, plan.usd) == (known.gpu_hours, None)
    assert "The speed of the GPUs of pods is not known" in text(plan)
    assert "The price of pods (spot) is not known: give it under machines:" in text(plan)


def test_machines_of_ones_own_have_no_price_unless_they_are_given_one(tmp_path: Path) -> None:
    sweep = load_sweep("step-ratio-temperature")
    own = ROOT / "cluster" / "local.yaml"
    plan = make_plan(sweep, pricing=find_pricing(sweep, own))
    assert plan.usd is None
    assert "Size and price of 192.0.2.10, 192.0.2.11, 192.0.2.12 are not known: give them" in text(plan)
    mine = tmp_path / "mine.yaml"
    machine = "{cpus: 8, gpus: 1, on_demand: 0.25, tflops: 20, gb_per_second: 200}"
    mine.write_text(f"machines: {{{', '.join(f'192.0.2.{number}: {machine}' for number in (10, 11, 12))}}}")
    sweep = load_sweep("step-ratio-temperature", flags={"prices": str(mine)})
    plan = make_plan(sweep, pricing=find_pricing(sweep, own))
    assert plan.gpu_hours
    assert plan.usd == pytest.approx((0.25 * plan.gpu_hours[0], 0.25 * plan.gpu_hours[1]))
    assert "known" not in text(plan)


def test_what_fits_no_machine_of_the_cluster_is_refused_as_the_sweep_would() -> None:
    sweep = load_sweep("step-ratio-temperature").with_resources(gpu=2)
    with pytest.raises(ConfigError, match="a trial asks for 2 GPU and no machine of the cluster has more than 1"):
        make_plan(sweep, pricing=find_pricing(sweep, ROOT / "cluster.yaml"))


def test_transition_curves_are_counted() -> None:
    few, many = (trial_work(make_plan(tiny(transition_images=n)).costs[-1].kind.config).flops for n in (0, 200))
    assert many > 2 * few  # 200 images, 9 classes, 100 steps of two networks


def test_early_stopping_is_counted_in_and_said() -> None:
    pricing = Pricing(machines=(GPU,), prices=PRICES)
    sweep = load_sweep("step-ratio-temperature")
    stopping = make_plan(sweep, pricing=pricing)
    none = make_plan(sweep.model_copy(update={"scheduler": tiny().scheduler}), pricing=pricing)
    assert none.usd
    assert stopping.usd
    share = stopping.costs[-1].kind.share
    assert 0.4 < share.expected < 0.6
    teacher = none.costs[0].usd or (0, 0)
    assert stopping.usd[1] - teacher[1] == pytest.approx(share.expected * (none.usd[1] - teacher[1]))
    line = next(line for line in plan_sentences(stopping) if line.startswith("Early stopping (asha) is included"))
    assert f"none stopped: 100%, up to {none.usd[1]:,.2f} USD." in line
    assert "Early stopping" not in text(none)


def test_a_population_uses_each_budget_once() -> None:
    sweep = load_sweep("step-ratio-temperature")
    changes = {"scheduler": {"name": "pbt", "population": 8, "generations": 10}, "num_trials": 80}
    pbt = SweepConfig.model_validate({**sweep.model_dump(), **changes})
    pricing = Pricing(machines=(GPU,), prices=PRICES)
    whole = make_plan(sweep.model_copy(update={"num_trials": 8, "scheduler": tiny().scheduler}), pricing=pricing)
    assert make_plan(pbt, pricing=pricing).hours == pytest.approx(whole.hours, rel=1e-3)


def test_a_budget_in_seconds_is_counted_too() -> None:
    sweep = SweepConfig.model_validate({**tiny().model_dump(), "budget": {"unit": "seconds", "amount": 60}})
    sweep = sweep.model_copy(update={"trial": {k: v for k, v in sweep.trial.items() if k != "total_pseudo_batches"}})
    config = make_plan(sweep).costs[-1].kind.config
    assert isinstance(config, ZeroShotConfig)
    assert config.budget * CORE.seconds(step_work(config)) == pytest.approx(60, rel=0.05)


def test_a_limit_that_ends_the_sweep_is_said() -> None:
    pricing = Pricing(machines=(GPU,), prices=PRICES)
    for hours, said in ((1, "ends it before that"), (100, "may end it before that"), (1e6, "")):
        sweep = load_sweep("paper-table-1", flags={"budget": {"gpu_hours": hours}})
        found = text(make_plan(sweep, pricing=pricing))
        assert (f"Its budget of {hours:g} GPU hours {said}" in found) == bool(said)


def test_earlier_trials_of_the_same_kind_tell_better(store: ObjectStore) -> None:
    sweep = write_search(store, "earlier", trials=3)
    for row, dollars in zip(read_trials(store, "earlier").to_pylist(), (0.5, 1, 2), strict=True):
        row |= {"device": "cuda", "device_name": "NVIDIA L4", "node_type": "gpu", "threads": 1, "compiled": False}
        row |= {"pseudo_batches": 140, "training_seconds": 3000.0, "evaluation_seconds": 600.0}
        row |= {"config_student_steps": 10, "config_generator_steps": 1, "gpu_seconds": 3600.0, "cost_usd": dollars}
        del row["sweep_id"]
        ResultWriter(SweepStore(store, "earlier")).write_trial(row)
    planned = sweep.model_copy(
        update={"num_trials": 10, "teachers": {"lenet": "lenet.pt"}, "scheduler": tiny().scheduler}
    ).with_resources(gpu=1)
    plan = make_plan(
        planned, past=SweepStore(store, planned.default_sweep_id), pricing=Pricing(machines=(GPU,), prices=PRICES)
    )
    assert plan.gpu_hours == pytest.approx((10, 10))
    assert plan_sentences(plan) == [
        "10 trials, 10 GPU hours, 5.00 to 20.00 USD.",
        "Measured by 3 trials of earlier sweeps on gpu.",
    ]
    elsewhere = make_plan(
        planned, past=SweepStore(store, planned.default_sweep_id), pricing=find_pricing(planned, ROOT / "cluster.yaml")
    )
    assert elsewhere.costs[-1].source == "counted", "other machines take another time"
    half = make_plan(
        planned.with_resources(gpu=0.5),
        past=SweepStore(store, planned.with_resources(gpu=0.5).default_sweep_id),
        pricing=Pricing(machines=(GPU,), prices=PRICES),
    )
    assert half.costs[-1].source == "counted", "so do parts of a GPU"


def test_trials_that_found_a_share_cost_what_they_held(store: ObjectStore) -> None:
    sweep = write_search(store, "earlier", trials=1)
    (row,) = read_trials(store, "earlier").to_pylist()
    row |= {"device": "cuda", "device_name": "NVIDIA L4", "node_type": "gpu", "threads": 1, "compiled": False}
    row |= {"pseudo_batches": 140, "training_seconds": 3000.0, "evaluation_seconds": 600.0}
    row |= {"gpu_seconds": 900.0, "cost_usd": None}
    del row["sweep_id"]
    ResultWriter(SweepStore(store, "earlier")).write_trial(row)
    planned = sweep.model_copy(
        update={"num_trials": 10, "teachers": {"lenet": "lenet.pt"}, "scheduler": tiny().scheduler}
    ).with_resources(gpu="auto")
    plan = make_plan(
        planned, past=SweepStore(store, planned.default_sweep_id), pricing=Pricing(machines=(GPU,), prices=PRICES)
    )
    assert plan.costs[-1].source == "earlier"
    assert plan.hours == pytest.approx((10, 10))
    assert plan.gpu_hours == plan.usd == pytest.approx((2.5, 2.5)), "a dollar an hour"


def test_trials_on_machines_of_ones_own_tell_of_them(store: ObjectStore) -> None:
    sweep = write_search(store, "earlier", trials=1)
    (row,) = read_trials(store, "earlier").to_pylist()
    row |= {"device": "cpu", "device_name": "EPYC", "hostname": "lab7", "node_type": "lab7", "threads": 1}
    row |= {"pseudo_batches": 140, "training_seconds": 3000.0, "evaluation_seconds": 600.0, "compiled": False}
    del row["sweep_id"]
    ResultWriter(SweepStore(store, "earlier")).write_trial(row)
    planned = sweep.model_copy(update={"teachers": {"lenet": "lenet.pt"}}).with_resources(gpu=0)
    plan = make_plan(
        planned,
        past=SweepStore(store, planned.default_sweep_id),
        pricing=find_pricing(planned, ROOT / "cluster" / "local.yaml"),
    )
    assert plan.costs[-1].seconds == pytest.approx((3600, 3600))
    assert "Measured by 1 trial of earlier sweeps on lab7." in text(plan)
    assert "For machines of your own, trials on all machines that are known by host name count." in text(plan)
    elsewhere = make_plan(
        planned, past=SweepStore(store, planned.default_sweep_id), pricing=find_pricing(planned, ROOT / "cluster.yaml")
    )
    assert elsewhere.costs[-1].source == "counted"


def test_the_market_is_the_cluster_that_is_named(tmp_path: Path) -> None:
    sweep = load_sweep("quickstart")
    ours = find_pricing(sweep, ROOT / "cluster.yaml")
    assert {str(machine) for machine in ours.machines} == {
        "m6i.xlarge (on demand)",
        "g6.xlarge (spot)",
        "g5.xlarge (spot)",
        "g6.xlarge (on demand)",
    }
    assert ours.usd_of_time((3600, 3600), cpus=1, gpus=0.5) == pytest.approx((0.21, 0.4024))
    assert ours.usd_of_time((3600, 3600), cpus=1, gpus=2) is None
    with pytest.raises(ConfigError, match="there is no such file"):
        find_pricing(sweep, tmp_path / "cluster.yaml")
    with pytest.raises(ConfigError, match="prices: .*cannot be read"):
        find_pricing(load_sweep("quickstart", flags={"prices": str(tmp_path / "prices.yaml")}), None)


def command(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, re.sub(r"\s+", " ", result.output)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny().model_dump(mode="json") | {"storage": str(tmp_path / "runs")}))
    return path


def test_the_command_says_trials_hours_and_money(file: Path) -> None:
    code, output = command("plan", str(file), "--cluster", str(ROOT / "cluster.yaml"))
    assert code == 0, output
    assert "5 trials, no GPU hours, 0.0" in output
    assert "Nothing was timed: hours are estimated from counted operations and a rough rate of 1 CPU thread" in output
    assert "No cluster is named" in command("plan", str(file))[1]


def test_the_options_of_a_sweep_are_those_of_its_plan(file: Path) -> None:
    code, output = command(
        *("plan", str(file), "--num-trials", "7", "--set", "student_steps=20", "--seed", "3", "--cpus", "2")
    )
    assert code == 0, output
    assert "8 trials, " in output
    assert "4 pseudo batches 80 " in output
    assert "2 CPU threads" in output
    assert command("plan", str(file), "--set", "student_stepz=20")[0] == 2


def test_measuring_is_asked_for_and_says_what_it_times(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrator.costs.estimate, "timed_seconds", timed_seconds)
    code, output = command("plan", str(file), "--measure", "--num-trials", "1")
    assert code == 0, output
    assert "timing teacher lenet on digits (1 of 2) ... timing trial (2 of 2) ..." in output
    assert "Timed on 1 CPU thread of this machine, a few steps each." in output


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_hours_of_cores_say_nothing_of_the_money_of_gpus(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrator.costs.estimate, "timed_seconds", lambda *_, **__: 3600.0)
    pricing = Pricing(machines=(GPU, BOX), prices=PRICES)
    assert make_plan(tiny().with_resources(gpu="auto"), pricing=pricing, measure=print).usd is None
    assert make_plan(tiny(), pricing=pricing, measure=print).usd is not None
    code, output = command("plan", str(file), "--measure", "--gpus", "1")
    assert (code, "these trials take a GPU, and this machine has none" in output) == (2, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"space": {"student_lr": {"type": "loguniform", "low": 0.0001, "high": 0.01}}},
        {"space": {"temperature": {"type": "float", "low": -1, "high": 1}}},
        {"space": "nowhere"},
        {"sampler": {"name": "tpe", "arguments": {"colour": "red"}}},
        {"prices": "nowhere.yaml"},
    ],
    ids=str,
)
def test_what_a_sweep_refuses_before_it_starts_has_no_price(file: Path, wrong: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | wrong))
    swept, planned, examined = (command(word, str(file)) for word in ("sweep", "plan", "doctor"))
    assert swept[0] == 2
    assert planned == examined == swept


def test_a_name_that_belongs_to_another_sweep_is_refused(file: Path, tmp_path: Path) -> None:
    write_search(find_storage(str(tmp_path / "runs")), "tiny")
    swept, planned = (command(word, str(file), "--sweep-id", "tiny") for word in ("sweep", "plan"))
    assert swept[0] == 2
    assert planned == swept


def test_doctor_takes_what_changes_a_sweep_and_refuses_it_without_one() -> None:
    code, output = command("doctor", "--set", "temperature=2", "--cpus", "2", "--teacher", "lenet=a.pt")
    assert code == 2
    assert "--set, --cpus, --teacher: only for a sweep, and none is named" in output
    code, output = command("doctor", "quickstart", "--set", "temperature=cold")
    assert (code, "temperature='cold': not allowed" in output) == (2, True)


@pytest.mark.parametrize("word", ["plan", "doctor"])
@pytest.mark.parametrize("content", ["", "[1, 2]", "cluster_name: x"])
def test_a_file_that_is_no_cluster_ends_in_one_line(tmp_path: Path, word: str, content: str) -> None:
    strange = tmp_path / "strange.yaml"
    strange.write_text(content)
    code, output = command(word, "quickstart", "--cluster", str(strange))
    assert code == 2
    assert f"error: --cluster {strange}: " in output
    assert "Traceback" not in output
