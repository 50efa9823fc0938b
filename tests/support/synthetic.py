"""Sweeps that nobody ran, written as an ended sweep is: searches and cases with plausible curves."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.results import ResultWriter, SessionEvent
from orchestrator.results.schema import CONFIG_PREFIX, REPORTS, TRIALS
from orchestrator.results.sessions import session_row
from orchestrator.storage import SweepStore, layout
from tests.support.rows import NOW, report, trial
from trainables.config import AnyTrialConfig
from trainables.evaluation import TransitionCurves
from trainables.metrics import DATA_FREE_METRICS
from trainables.storage.object_store import ObjectStore
from trainables.training.image_snapshots import ImageSnapshot

SEARCHED = ["generator_steps", "student_steps", "temperature"]


def write_search(
    store: ObjectStore,
    sweep_id: str,
    *,
    trials: int = 12,
    seed: int = 0,
    ended: bool = True,
    first: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> SweepConfig:
    """A search of the quick start: more student steps are better, and a third of the trials use up their budget.

    Args:
        first: Where the first trial's settings are not the published ones.
        changes: Fields of the sweep.
    """
    flags = {"objective": changes.pop("objective", None)}
    sweep = load_sweep("quickstart", flags=flags).model_copy(update={"num_trials": max(1, trials), **changes})
    random = np.random.default_rng(seed)
    rows, reports = [], []
    for number in range(trials):
        suggestion = {
            "generator_steps": int(random.integers(1, 4)),
            "student_steps": int(random.integers(5, 21)),
            "temperature": float(np.exp(random.uniform(np.log(0.5), np.log(8)))),
        }
        config = sweep.trial_config(suggestion if number else first)
        best = 0.6 + 0.015 * suggestion["student_steps"] + 0.02 * random.normal() if number else 0.8
        stopped = number % 3 != 0
        row, of_trial = _trial(number, config, best, random, stopped=stopped)
        rows.append(row)
        reports += of_trial
    _write(store, sweep_id, sweep, SEARCHED, rows, reports, ended=ended)
    return sweep


def write_pictures(store: ObjectStore, sweep_id: str, trial_id: str) -> None:
    """Two looks at a generator, and the transition curves of two images."""
    folders: tuple[layout.Table, layout.Table] = ("snapshots", "transition_curves")
    snapshots, curves = (layout.sweep_folder(table, sweep_id) for table in folders)
    png = io.BytesIO()
    Image.fromarray(np.full((67, 133), 128, np.uint8)).save(png, "PNG")
    for done, share in ((70, 0.5), (140, 1.0)):
        snapshot = ImageSnapshot(
            pseudo_batches=done,
            share=share,
            png=png.getvalue(),
            teacher_classes=[50, 462, *[0] * 8],
            student_classes=[512, *[0] * 9],
        )
        store.write(f"{snapshots}/{trial_id}-{done:010d}.parquet", snapshot.to_parquet(trial_id))
    targets = torch.arange(1, 10).expand(2, 9)
    rising = torch.linspace(0, 1, 5).expand(2, 9, 5).contiguous()
    made = TransitionCurves(
        image_indices=torch.arange(2),
        labels=torch.zeros(2, dtype=torch.int64),
        targets=targets.contiguous(),
        attacked=rising,
        other=rising / 2,
        step_size=1.0,
        target_rule="label",
        seed=0,
    ).to_table()
    buffer = io.BytesIO()
    pq.write_table(made.append_column("trial_id", pa.array([trial_id] * len(made))), buffer)
    store.write(f"{curves}/{trial_id}.parquet", buffer.getvalue())


def write_cases(store: ObjectStore, sweep_id: str, sweep: SweepConfig, means: dict[str, float]) -> None:
    """Completed trials of each case and seed, around these accuracies."""
    random = np.random.default_rng(1)
    rows, reports = [], []
    for number, assignment in enumerate(sweep.assignments()):
        config = sweep.case_config(assignment)
        row, of_trial = _trial(number, config, means[assignment.case], random, stopped=False, case=assignment.case)
        rows.append(row)
        reports += of_trial
    _write(store, sweep_id, sweep, [], rows, reports, ended=True)


def _trial(
    number: int,
    config: AnyTrialConfig,
    accuracy: float,
    random: np.random.Generator,
    *,
    stopped: bool,
    case: str | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    key, interval = layout.trial_name(number), config.report_interval
    last = 4 * interval if stopped else config.budget
    reports = [
        report(
            key,
            done,
            reported_at=NOW + timedelta(seconds=10 * number + done),
            validation_accuracy=float(
                accuracy * (1 - 0.5 * np.exp(-5 * done / config.budget)) + 0.01 * random.normal()
            ),
            test_accuracy=float(accuracy * (1 - 0.5 * np.exp(-5 * done / config.budget))),
            student_in_train_mode=True,
            measured_teacher_accuracy=0.9,
            student_class_entropy=float(accuracy * 0.9),
            divergence=float(random.uniform()),
            **_scores(config, accuracy),
            training_flops=1e9 * done * getattr(config, "student_steps", 1),
            training_seconds=0.1 * done,
            evaluation_seconds=0.01 * done,
        )
        for done in range(interval, last + 1, interval)
    ]
    if not config.reads_images:
        for made in reports:
            made |= {"validation_accuracy": None, "test_accuracy": None}
    settings = {CONFIG_PREFIX + name: value for name, value in config.model_dump().items()}
    metrics = {name: value for name, value in reports[-1].items() if name not in {"reported_at", "trial_id"}}
    state = "stopped_early" if stopped else "completed"
    ends = {"state": state, "objective": metrics["data_free_score"] or metrics["validation_accuracy"], "case": case}
    return trial(key, **(metrics | settings | ends | {"ended_at": reports[-1]["reported_at"]})), reports


def _scores(config: AnyTrialConfig, accuracy: float) -> dict[str, float | None]:
    """A data-free score that ranks by accuracy, of trials that have one."""
    found: dict[str, float | None] = dict.fromkeys(DATA_FREE_METRICS)
    if getattr(config, "data_free_scores", False):
        found["data_free_score"] = accuracy / 2
    return found


def _write(
    store: ObjectStore,
    sweep_id: str,
    sweep: SweepConfig,
    searched: list[str],
    rows: list[dict[str, Any]],
    reports: list[dict[str, Any]],
    *,
    ended: bool,
) -> None:
    writer = ResultWriter(SweepStore(store, sweep_id))
    for event in (SessionEvent.STARTED, *([SessionEvent.FINISHED] if ended else [])):
        row = session_row(sweep, searched, number=0, event=event, cpus=2, gpus=0)
        # Not the versions of the machine that runs the tests.
        writer.write_session(
            row
            | {
                "code_version": "0.1.0",
                "hostname": "driver",
                "at": NOW + timedelta(hours=event is SessionEvent.FINISHED),
            }
        )
    tables: tuple[tuple[layout.Table, pa.Schema, list[dict[str, Any]]], ...] = (
        ("trials", TRIALS, rows),
        ("reports", REPORTS, reports),
    )
    for table, schema, content in tables:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(content, schema=schema), buffer)
        store.write(layout.compacted_object(table, sweep_id, 0), buffer.getvalue())
