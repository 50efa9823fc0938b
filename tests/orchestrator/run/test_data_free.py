"""Searches that select without data: what they ask for, and that no real image or label is read on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

import orchestrator.inputs.files
import trainables.profiling.timing
from orchestrator.analysis.cases import read_cases
from orchestrator.analysis.leaderboard import read_leaderboard
from orchestrator.commands.confirm import confirmation_sweep
from orchestrator.config import SweepConfig
from orchestrator.config.blocks import BoundConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.inputs.prepare import prepare_inputs
from orchestrator.report import make_report
from orchestrator.results import read_reports
from orchestrator.run.ray_backend import RayTasks
from orchestrator.storage import SweepStore, find_storage
from tests.support.synthetic import write_cases, write_search
from tests.support.whole_sweeps import run, sweep_of, teacher_in, trials
from trainables.config import ZeroShotConfig
from trainables.profiling.timing import timed_seconds
from trainables.storage.object_store import ObjectStore
from trainables.trial import TrialInputs

SPACE = {"student_steps": {"type": "int", "low": 1, "high": 4}}


def zero_shot(sweep: SweepConfig) -> list[ZeroShotConfig]:
    configs = sweep.configs()
    assert configs
    return [config for config in configs if isinstance(config, ZeroShotConfig)]


def config_of(sweep: SweepConfig) -> ZeroShotConfig:
    (config,) = zero_shot(sweep)
    return config


@pytest.mark.parametrize(
    "selection",
    [
        {"objective": "data_free_score"},
        {"further_objectives": {"probe_divergence": "min"}},
        {"constraints": {"noise_agreement": {"at_least": 0.1}}},
    ],
)
def test_whoever_selects_on_a_score_need_not_ask_for_it(selection: dict[str, Any]) -> None:
    assert not config_of(load_sweep("quickstart")).data_free_scores
    sweep = load_sweep("quickstart", flags=selection)
    assert config_of(sweep).data_free_scores
    with pytest.raises(ValidationError, match=r"needs trial: \{data_free_scores: true\}; set it so, or leave it out"):
        SweepConfig.model_validate({**sweep.model_dump(), "trial": {**sweep.trial, "data_free_scores": False}})


def test_what_needs_labels_is_no_objective_of_trials_that_read_none() -> None:
    sweep = load_sweep("quickstart-zero-shot")
    assert not config_of(sweep).reads_images
    for selection in (
        {"objective": "validation_accuracy"},
        {"constraints": {"validation_accuracy": {"at_least": 0.5}}},
    ):
        with pytest.raises(ValidationError, match=r"validation_accuracy needs trial: \{audited: true\}"):
            SweepConfig.model_validate({**sweep.model_dump(), **selection})
    with pytest.raises(ValidationError, match=r"audited=false reads none; allowed: transition_images=0"):
        ZeroShotConfig(audited=False, transition_images=10)


@pytest.mark.parametrize(
    ("objective", "mode"), [("data_free_score", "max"), ("probe_divergence", "min"), ("probe_calibration_error", "min")]
)
def test_an_error_is_to_be_small_unless_it_is_said_otherwise(objective: str, mode: str) -> None:
    assert load_sweep("quickstart", flags={"objective": objective}).mode == mode
    assert load_sweep("quickstart", flags={"objective": objective, "mode": "max"}).mode == "max"


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": ["data_free_score"]},
        {"further_objectives": 3},
        {"constraints": [{"training_flops": {"at_most": 1}}]},
        {"trial": "audited", "objective": "data_free_score"},
        {"cases": ["baseline"]},
        {"cases": {"baseline": 3}},
    ],
)
def test_what_is_not_of_its_shape_is_refused_by_name(wrong: dict[str, Any]) -> None:
    (field, *_) = wrong
    with pytest.raises(ConfigError, match=field.removesuffix("s")):
        load_sweep("quickstart", flags=wrong)


def test_what_a_sweep_without_data_prints_shows_the_score_and_no_empty_accuracy(store: ObjectStore) -> None:
    write_search(store, "blind", objective="data_free_score", trial={"audited": False, "data_free_scores": True})
    board = read_leaderboard(SweepStore(store, "blind"))
    assert [str(column.header).replace("\n", "_") for column in board.table().columns][-3:] == [
        *("data_free_score", "state", "cost")
    ]
    sweep_id, confirming = confirmation_sweep(board, top=1, seeds=2)
    write_cases(store, sweep_id, confirming, dict(zip(confirming.cases, (0.8, 0.9), strict=True)))
    columns = read_cases(SweepStore(store, sweep_id), confirming).table("").columns
    assert [str(column.header) for column in columns] == [
        *("case", "n", "data-free score, mean ± std (population)", "transition error", "cost")
    ]
    page = make_report([SweepStore(store, sweep_id)])
    assert "No trial has ended yet" not in page
    assert "data-free score, mean ± std (population)" in page
    assert "validation, mean" not in page


def test_labels_are_an_audit_only_where_nothing_goes_by_them(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=24, objective="data_free_score")
    assert "Labels, which took no part in the selection, rank it" in make_report([SweepStore(store, "search-a")])
    bound = {"validation_accuracy": BoundConfig(at_least=0.1)}
    write_search(store, "search-b", trials=24, objective="data_free_score", constraints=bound)
    page = make_report([SweepStore(store, "search-b")])
    assert "Labels put it" in page
    assert "which took no part in the selection" not in page


def test_a_plan_times_what_scoring_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(work: Callable[[], object], device: torch.device) -> float:
        """A second for each look at a student that scores, nothing for all else."""
        work()
        function = work.func if isinstance(work, partial) else work
        return float(getattr(function, "__name__", "") == "score")

    monkeypatch.setattr(trainables.profiling.timing, "_seconds", seconds)
    config = config_of(load_sweep("quickstart-zero-shot"))
    assert timed_seconds(config, cpus=1, gpus=0) == config.budget / 10, "a score every ten pseudo batches"


@pytest.mark.ray
@pytest.mark.own_processes
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("ray_local")
def test_a_sweep_without_data_reads_no_image_and_no_label_once_there_is_a_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = str(tmp_path / "runs")
    audited = sweep_of(storage, space=SPACE, objective="data_free_score")
    blind = sweep_of(
        storage,
        space=SPACE,
        trial={"audited": False, "evaluation_interval": 1},
        objective="data_free_score",
        scheduler={"name": "asha", "grace": 0.25, "reduction_factor": 2},
        num_trials=4,
    )
    store = find_storage(storage)
    teacher = teacher_in(prepare_inputs(audited, store, tasks=RayTasks(), say=lambda _: None))
    published = tmp_path / "published.pt"
    torch.save(dict(teacher.weights), published)

    def nothing_to_read(*_: object, **__: object) -> None:
        raise AssertionError("real images or labels were asked for")

    monkeypatch.setattr(orchestrator.inputs.files, "load_dataset", nothing_to_read)
    with pytest.raises(AssertionError, match="real images or labels were asked for"):
        prepare_inputs(audited, store, tasks=RayTasks(), say=lambda _: None)

    printed = run(blind, "blind")
    assert "making images" not in printed, "they were made for the first sweep"
    rows = trials(storage, "blind")
    assert len(rows) == 4
    for row in rows:
        assert row["objective"] == row["data_free_score"]
        assert row["objective"] is not None
        assert row["validation_accuracy"] is row["test_accuracy"] is row["measured_teacher_accuracy"] is None
        assert row["test_evaluations"] == 0
    assert all(report["data_free_score"] is not None for report in read_reports(store, "blind").to_pylist())

    confirming = confirmation_sweep(read_leaderboard(SweepStore(store, "blind")), top=1, seeds=2)[1]
    assert all(config.data_free_scores and not config.reads_images for config in zero_shot(confirming))
    assert "data free score" in make_report([SweepStore(store, "blind")])

    # A file with weights and nothing else: nobody can say how good it is, and nobody need.
    from_a_file = {"audited": False, "teacher_checkpoint": str(published)}
    by_score = sweep_of(storage, space=SPACE, trial=from_a_file, objective="data_free_score")
    inputs = prepare_inputs(by_score, store, tasks=RayTasks(), say=lambda _: None)
    assert teacher_in(inputs).metadata.test_accuracy is None
    assert not inputs.splits


def test_a_trial_without_data_is_given_images_that_cannot_be_read() -> None:
    splits = TrialInputs(splits={}, teachers={}).splits_of(config_of(load_sweep("quickstart-zero-shot")))
    for part in (splits.train, splits.validation, splits.test.subset(torch.arange(0)).to("cpu")):
        assert len(part) == 0
        with pytest.raises(AssertionError, match="reads no real image has asked for one"):
            _ = part.images
        with pytest.raises(AssertionError, match="reads no label has asked for one"):
            _ = part.labels
