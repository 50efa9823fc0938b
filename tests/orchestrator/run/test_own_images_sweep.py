"""Whole sweeps on images of the user's own, and without any: in one process, from a file as a user writes it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import SweepMismatchError
from orchestrator.inputs.files import load_images
from orchestrator.report import make_report
from orchestrator.results import read_trials
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.storage import SweepStore, find_storage
from tests.support.pictures import folder_of, picture
from tests.support.tiny import tiny_settings
from trainables.storage.object_store import ObjectStore
from trainables.teachers import probe_synthesis
from trainables.teachers.registry import TeacherRegistry

SIZE = (48, 40)


def write_sweep(folder: Path, **trial: Any) -> str:
    settings = tiny_settings(batch_size=16, total_pseudo_batches=2, evaluation_interval=1, **trial)
    content = {
        "name": "pets",
        "trial": {field: value for field, value in settings.items() if field != "temperature"},
        "space": {"temperature": {"type": "float", "low": 1, "high": 4}},
        "num_trials": 2,
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "teacher_recipe": {"full_data_epochs": 40, "learning_rate": 0.01, "batch_size": 16},
    }
    file = folder / f"{trial['dataset'].rpartition('/')[2]}.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


def run(sweep: SweepConfig, sweep_id: str) -> str:
    out = io.StringIO()
    outcome = run_sweep(
        sweep, sweep_id=sweep_id, backend=BackendChoice(name="inline"), console=Console(file=out, width=200)
    )
    assert outcome.finished
    return out.getvalue()


def rows(store: ObjectStore, sweep_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_trials(store, sweep_id).to_pylist()
    return found


@pytest.mark.timeout(180)
def test_a_folder_of_grey_images_and_then_its_teacher_without_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_synthesis, "_STEPS", 2)
    folder, storage = folder_of(tmp_path / "pets", each=30, size=SIZE), str(tmp_path / "runs")
    file = write_sweep(tmp_path, dataset=str(folder), validation_fraction=0.25)
    sweep = load_sweep(file, flags={"storage": storage})
    store = find_storage(storage)
    printed = run(sweep, "folder")
    assert "training the teacher, lenet on pets, 40 epochs" in printed
    trials = rows(store, "folder")
    assert [(row["state"], row["config_dataset"], row["config_num_classes"]) for row in trials] == [
        ("completed", "pets", 3)
    ] * 2
    assert all(row["test_accuracy"] is not None and row["teacher_test_accuracy"] > 0.6 for row in trials)
    assert len({row["config_dataset_sha256"] for row in trials}) == 1
    assert "pets" in make_report([SweepStore(store, "folder")])

    # Read anywhere, the sweep is what it was; on changed images nobody goes on with it.
    assert SweepConfig.stored(sweep.model_dump_json()) == sweep
    picture(1, 99, size=SIZE).save(folder / "dog" / "00.png")
    with pytest.raises(SweepMismatchError, match="dataset_sha256"):
        run(load_sweep(file, flags={"storage": storage, "num_trials": 3}), "folder")

    recipe = sweep.teacher_config(sweep.configs()[0])
    teacher = TeacherRegistry(store.below("teachers")).find(recipe)
    assert teacher is not None
    torch.save(dict(teacher.weights), tmp_path / "lenet.pt")
    shapes: dict[str, Any] = {"num_classes": 3, "channels": 1, "image_size": "48x40", "normalisation": "0.35:0.2"}
    blind_file = write_sweep(tmp_path, dataset="none", teacher_checkpoint=str(tmp_path / "lenet.pt"), **shapes)
    blind = load_sweep(blind_file, flags={"storage": storage})
    assert blind.objective == "data_free_score"
    run(blind, "blind")
    for row in rows(store, "blind"):
        assert row["state"] == "completed" and row["data_free_score"] is not None
        assert row["test_accuracy"] is row["validation_accuracy"] is row["teacher_test_accuracy"] is None
    page = make_report([SweepStore(store, "blind")])
    assert "No labelled image was read" in page
    assert "lenet taught by lenet, without images" in page
    shown = CliRunner().invoke(app, ["results", "blind", "--storage", storage])
    assert "No labelled image was read" in shown.output.replace("\n", " ")


def test_own_images_are_exported_as_one_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets", size=SIZE)
    to = str(tmp_path / "elsewhere" / "animals.parquet")
    result = CliRunner().invoke(app, ["dataset", "export", str(folder), to])
    assert result.exit_code == 0, result.output
    assert "12 training and 3 test images" in result.output.replace("\n", " ")
    config, copy = (
        load_sweep("quickstart", assignments=[f"dataset={place}"]).configs()[0] for place in (str(folder), to)
    )
    ours, theirs = load_images(config, "nowhere"), load_images(copy, "nowhere")
    assert copy.dataset == "animals" and copy.spec.shapes == config.spec.shapes
    assert torch.equal(ours.test.images, theirs.test.images) and torch.equal(ours.test.labels, theirs.test.labels)
    for arguments, reason in (
        ([str(folder), str(tmp_path / "pets.zip")], "expected a file ending in .parquet"),
        ([str(folder), str(tmp_path / "digits.parquet")], "digits is the name of another data set"),
        ([str(tmp_path / "nowhere"), to], "there is no such file or folder"),
    ):
        result = CliRunner().invoke(app, ["dataset", "export", *arguments])
        assert result.exit_code != 0
        assert reason in result.output.replace("\n", " ")
