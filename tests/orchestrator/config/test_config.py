from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    content = {
        "name": "mine",
        "trial": {"dataset": "digits", "student_lr": "1e-3"},
        "space": {"temperature": {"type": "float", "low": 1, "high": 4}},
        "num_trials": 3,
    }
    file.write_text(yaml.safe_dump(content))
    return file


def test_flags_win_over_the_file_and_assignments_over_its_trial(sweep_file: Path) -> None:
    sweep = load_sweep(
        str(sweep_file),
        flags={"num_trials": 5, "seed": None, "storage": "/x"},
        assignments=["student_steps=3", "student_lr=0.5", "teacher_checkpoint=none"],
    )
    assert (sweep.num_trials, sweep.seed, sweep.storage.uri) == (5, 0, "/x")
    assert sweep.trial == {"dataset": "digits", "student_lr": 0.5, "student_steps": 3, "teacher_checkpoint": None}


def test_values_have_their_fields_types_however_they_are_written(sweep_file: Path) -> None:
    # YAML reads 1e-3 as text.
    assert load_sweep(str(sweep_file)).trial["student_lr"] == 1e-3
    ids = {load_sweep(str(sweep_file), assignments=[f"temperature={text}"]).default_sweep_id for text in ("2", "2.0")}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("student_stepz=3", "--set: unknown field 'student_stepz'; did you mean student_steps?"),
        ("temperature=-1", "--set: temperature='-1': not allowed; temperature must be a number > 0"),
        ("student_steps=1.5", "student_steps='1.5': not allowed; student_steps must be a whole number >= 1"),
        (
            "dataset=imagenet",
            "unknown data set 'imagenet'; known: cifar10, cifar100, svhn, mnist, fashion_mnist, digits",
        ),
        ("teacher=resnet", "unknown network 'resnet'; known: lenet, lenet-bn, resnet-18, resnet-34, or wrn-D-K"),
        ("learning_rate_horizon=70000", "lies before total_pseudo_batches=80000"),
        ("temperature", "expected FIELD=VALUE"),
    ],
)
def test_a_wrong_assignment_names_field_value_and_what_is_allowed(
    assignment: str, message: str, sweep_file: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sweep(str(sweep_file), assignments=[assignment])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_trialz": 3}, "unknown field 'num_trialz'; did you mean num_trials?"),
        ({"num_trials": 0}, "num_trials=0: not allowed; num_trials must be a whole number >= 1"),
        ({"name": "Mine"}, "must begin with a small letter"),
        (
            {"objective": "test_accuracy"},
            "test_accuracy is an audit, measured on test images, and cannot be selected on; use",
        ),
        ({"objective": "validation_acuracy"}, "did you mean validation_accuracy?"),
        ({"objective": "cross_entropy", "mode": "min"}, "zero_shot trials do not report cross_entropy"),
        ({"objective": "mean_transition_error"}, "mean_transition_error is an audit, measured on test images"),
        ({"further_objectives": {"mean_transition_error_low": "min"}}, "mean_transition_error_low is an audit"),
        ({"constraints": {"mean_transition_error_high": {"at_most": 0.3}}}, "mean_transition_error_high is an audit"),
        ({"constraints": {"measured_teacher_accuracy": {"at_least": 0.3}}}, "measured_teacher_accuracy is an audit"),
        (
            {"constraints": {"mean_transition_error": {"at_most": 0.2}}, "allow_test_selection": True},
            "needs trial: {transition_images: ...} above 0",
        ),
        (
            {
                "objective": "mean_transition_error",
                "trial": {"dataset": "digits", "transition_images": 9},
                "allow_test_selection": True,
            },
            "is known only at a trial's end, so scheduler=asha",
        ),
        ({"further_objectives": {"flops": "min"}}, "unknown metric of further_objectives 'flops'; Known: "),
        ({"further_objectives": {"validation_accuracy": "min"}}, "validation_accuracy is the objective already"),
        ({"further_objectives": {"test_accuracy": "max"}}, "test_accuracy is an audit"),
        (
            {"further_objectives": {"training_flops": "min"}, "sampler": {"name": "cmaes"}},
            "sampler=cmaes takes one objective only",
        ),
        ({"constraints": {"training_flops": {}}}, "a constraint needs at_least, at_most or both"),
        ({"constraints": {"student_updates": {"at_least": 2, "at_most": 1}}}, "at_least=2 is above at_most=1"),
        ({"warm_start": ["a"], "sampler": {"name": "random"}}, "sampler=random learns nothing from other trials"),
        ({"scheduler": {"name": "pbt"}, "num_trials": 7}, "has population x generations = 80 trials"),
        (
            # Not even this unit: a generation's part of the budget would count as the whole.
            {"scheduler": {"name": "pbt"}, "num_trials": 80, "budget": {"unit": "pseudo_batches", "amount": 90}},
            "budget: {unit: ...} does not fit; use trial: {total_pseudo_batches",
        ),
        ({"budget": {"unit": "flops", "amount": 9, "flops_per_second": 1.0}}, "flops_per_second is for unit: seconds"),
        ({"trial": {"teacher_seed": 1, "teacher_checkpoint": "x.pt"}}, "teacher_checkpoint is trained already"),
        (
            {"sampler": {"name": "best"}},
            "sampler: unknown sampler 'best'; Known: cmaes, gp, grid",
        ),
        ({"scheduler": "none"}, "scheduler='none': not allowed; scheduler must be a block of fields"),
        ({"resources": 2}, "resources=2: not allowed; resources must be a block of fields"),
        ({"space": 3}, "space=3: not allowed; space must be text or a block of fields"),
        (
            {"trial": {"normalisation": "cifar10", "dataset": "digits"}},
            "allowed: mnist, fashion_mnist, digits, half, unit",
        ),
        ({"resources": {"cpus": 1}}, "resources: unknown field 'cpus'; did you mean cpu?"),
        ({"trial": {"student_stepz": 1}}, "unknown field 'student_stepz'"),
    ],
)
def test_a_wrong_file_is_refused_by_field(change: dict[str, object], message: str, sweep_file: Path) -> None:
    content = yaml.safe_load(sweep_file.read_text()) | change
    sweep_file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as caught:
        load_sweep(str(sweep_file))
    assert message in str(caught.value)
    assert str(sweep_file) in str(caught.value)


def test_bounds_that_span_two_fields_see_file_and_assignments_together(sweep_file: Path) -> None:
    content = yaml.safe_load(sweep_file.read_text())
    content["trial"]["total_pseudo_batches"] = 200_000
    sweep_file.write_text(yaml.safe_dump(content))
    sweep = load_sweep(str(sweep_file), assignments=["learning_rate_horizon=200000"])
    assert sweep.configs()[0].budget == 200_000
    with pytest.raises(ConfigError, match="learning_rate_horizon=100000 lies before total_pseudo_batches=200000"):
        load_sweep(str(sweep_file), assignments=["learning_rate_horizon=100000"])


def test_files_that_are_no_sweeps(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "broken.yaml").write_text("name: [")
    for name, message in (
        ("list.yaml", "expected fields of a sweep, found list"),
        ("broken.yaml", "cannot be read"),
        ("missing.yaml", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_sweep(str(tmp_path / name))
    with pytest.raises(ConfigError, match="unknown preset 'quikstart'; did you mean quickstart"):
        load_sweep("quikstart")


def test_the_sweeps_seed_is_each_trials_unless_fixed(sweep_file: Path) -> None:
    assert load_sweep(str(sweep_file), flags={"seed": 4}).trial_config({}).seed == 4
    assert load_sweep(str(sweep_file), flags={"seed": 4}, assignments=["seed=2"]).trial_config({}).seed == 2


def test_what_is_fixed_wins_over_a_suggestion(sweep_file: Path) -> None:
    sweep = load_sweep(str(sweep_file), assignments=["temperature=2"])
    assert sweep.trial_config({"temperature": 3.0, "student_steps": 4}).model_dump()["temperature"] == 2
    assert sweep.trial_config({"temperature": 3.0, "student_steps": 4}).model_dump()["student_steps"] == 4


def test_the_default_id_follows_what_decides_the_numbers_and_nothing_else(sweep_file: Path) -> None:
    base = load_sweep(str(sweep_file))
    assert base.default_sweep_id.startswith("mine-")
    same = [
        load_sweep(str(sweep_file), flags={"num_trials": 9, "storage": "/elsewhere", "data_root": "/d"}),
        base.with_resources(cpu=2),
    ]
    other = [
        load_sweep(str(sweep_file), flags={"seed": 1}),
        load_sweep(str(sweep_file), assignments=["student_steps=3"]),
    ]
    assert {sweep.default_sweep_id for sweep in same} == {base.default_sweep_id}
    assert base.default_sweep_id not in {sweep.default_sweep_id for sweep in other}


def test_resources_are_checked() -> None:
    base = SweepConfig(name="x")
    assert base.with_resources(gpu=0.5).resources.gpu == 0.5
    with pytest.raises(ConfigError, match="neither a fraction of one GPU nor a whole number"):
        base.with_resources(gpu=1.5)
    with pytest.raises(ConfigError, match="cpu=0.*must be a number > 0"):
        base.with_resources(cpu=0)


def test_a_trial_keeps_a_checkpoint_to_fall_back_on(sweep_file: Path) -> None:
    sweep = load_sweep(str(sweep_file))
    assert sweep.checkpoints_kept == 2
    assert sweep.model_copy(update={"checkpoints_kept": 9}).default_sweep_id == sweep.default_sweep_id
    sweep_file.write_text(sweep_file.read_text() + "checkpoints_kept: 1\n")
    with pytest.raises(
        ConfigError, match="checkpoints_kept=1: not allowed; checkpoints_kept must be a whole number >= 2"
    ):
        load_sweep(str(sweep_file))
