from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.config.loading import load_sweep
from orchestrator.report import figures
from orchestrator.report.data import STEP_RATIO, SweepData, Trial, read_sweep
from orchestrator.report.page import Table
from orchestrator.results import ResultWriter, SessionEvent, TrialState
from orchestrator.results.sessions import session_row
from orchestrator.search.study import open_study
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.storage import SweepStore
from search_spaces import resolve_space
from tests.support.rows import report
from tests.support.searches import suggest
from tests.support.synthetic import write_cases, write_search
from trainables.storage.object_store import ObjectStore


@pytest.fixture
def data(store: ObjectStore) -> SweepData:
    write_search(store, "search-a", trials=24)
    return read_sweep(SweepStore(store, "search-a"))


def trace(figure: Any, name: str) -> Any:
    return next(trace for trace in figure.data if str(trace.name).startswith(name))


def test_the_map_shows_each_trial_at_one_share_and_marks_the_published_settings(data: SweepData) -> None:
    whole, early = (figures.accuracy_map(data, comparison) for comparison in data.comparisons())
    assert whole is not None and early is not None
    assert (len(trace(whole, "trial").x), len(trace(whole, "ended before").x)) == (8, 16)
    assert len(trace(early, "trial").x) == 24
    assert [one.name for one in early.data] == [
        "interpolated",
        "trial",
        "published settings",
        "best at the whole budget",
    ]
    published = trace(early, "published")
    assert (published.x, published.y) == ((10.0,), (1.0,))
    assert (early.layout.xaxis.type, early.layout.yaxis.type) == ("log", "log")
    assert early.layout.xaxis.title.text == STEP_RATIO


def test_the_map_invents_nothing_outside_of_its_trials(data: SweepData) -> None:
    comparison = data.comparisons()[1]
    surface = trace(figures.accuracy_map(data, comparison), "interpolated")
    heights = np.array([[np.nan if value is None else value for value in row] for row in surface.z], dtype=float)
    assert np.isnan(heights).any(), "corners without trials stay empty"
    assert min(comparison.values) - 1e-3 <= np.nanmin(heights) <= np.nanmax(heights) <= max(comparison.values) + 1e-3


def test_without_two_numbers_that_vary_there_is_no_map(store: ObjectStore) -> None:
    write_search(store, "search-b", trials=1)
    data = read_sweep(SweepStore(store, "search-b"))
    assert figures.accuracy_map(data, data.comparisons()[0]) is None


def test_trials_that_ended_early_end_in_a_cross(data: SweepData) -> None:
    made = figures.trial_curves(data)
    assert made is not None
    crosses = next(one for one in made.data if one.marker.symbol == "x")
    assert len(crosses.x) == 16
    assert set(np.round(crosses.x, 3)) == {round(40 / 140, 3)}
    assert data.best
    assert trace(made, "best").y[-1] == data.best.reports[-1]["validation_accuracy"]
    assert trace(made, "published").line.dash == "dash"


def test_a_running_trial_is_a_curve_too(store: ObjectStore) -> None:
    write_search(store, "search-b", trials=3, ended=False)
    ResultWriter(SweepStore(store, "search-b")).write_report(report("t0007", 70, validation_accuracy=0.25))
    made = figures.trial_curves(read_sweep(SweepStore(store, "search-b")))
    assert made is not None
    assert trace(made, "running").y[0] == 0.25


def test_cases_are_means_with_a_band_of_one_standard_deviation(store: ObjectStore) -> None:
    sweep = load_sweep("numerics-digits").model_copy(update={"seeds": [0, 1, 2], "num_trials": 9})
    write_cases(store, "cases-a", sweep, dict.fromkeys(sweep.cases, 0.9))
    data = read_sweep(SweepStore(store, "cases-a"))
    made = figures.case_curves(data.trials, "validation_accuracy")
    assert made is not None
    line, band = trace(made, "baseline"), made.data[0]
    ends = [t.reports[-1]["validation_accuracy"] for t in data.trials if t.case == "baseline"]
    assert line.name == "baseline (n=3)"
    assert line.y[-1] == pytest.approx(np.mean(ends))
    assert band.y[len(line.y) - 1] == pytest.approx(np.mean(ends) + np.std(ends))


def test_methods_are_drawn_over_the_operations_that_their_seeds_have_taken(store: ObjectStore) -> None:
    sweep = load_sweep("numerics-digits").model_copy(update={"seeds": [0, 1, 2], "num_trials": 9})
    write_cases(store, "cases-a", sweep, dict.fromkeys(sweep.cases, 0.9))
    trials = read_sweep(SweepStore(store, "cases-a")).trials

    def spent(trial: Trial, factor: float) -> Trial:
        reports = [{**report, "training_flops": factor * (n + 1)} for n, report in enumerate(trial.reports)]
        return replace(trial, reports=reports)

    alike = [spent(trial, 1e9) for trial in trials]
    assert figures.operation_curves(alike, "test_accuracy") is None  # whose budget says it all
    mixed = [spent(trial, 1e9 if trial.case == "baseline" else 1e12) for trial in trials]
    made = figures.operation_curves(mixed, "test_accuracy")
    assert made is not None
    assert made.layout.xaxis.type == "log"
    line = trace(made, "baseline (n=3)")
    assert made.layout.xaxis.title.text == "operations of training, TFLOP"
    assert list(line.x) == pytest.approx([1e-3 * (n + 1) for n in range(len(line.x))])
    assert made.layout.xaxis.tickvals[0] < 2e-3
    ends = [t.reports[-1]["test_accuracy"] for t in mixed if t.case == "baseline"]
    assert line.y[-1] == pytest.approx(np.mean(ends))
    assert len({one.legendgroup for one in made.data}) == len(sweep.cases)


def test_cases_that_run_are_curves_of_their_own(store: ObjectStore) -> None:
    sweep = load_sweep("numerics-digits")
    writer = ResultWriter(SweepStore(store, "cases-b"))
    writer.write_session(session_row(sweep, [], number=0, event=SessionEvent.STARTED, cpus=2, gpus=0))
    study = open_study(SweepStore(store, "cases-b"), modes=[])
    search = SweepSearch(study, sweep, resolve_space(sweep.space), sweep_id="cases-b")
    begun = [suggest(search) for _ in range(2)]
    cases = []
    for config in begun:
        cases.append(config["case"])
        for done in (35, 70):
            writer.write_report(report(config["trial_id"], done, epochs=None, test_accuracy=0.01 * done))
    data = read_sweep(SweepStore(store, "cases-b"))
    assert [(trial.state, trial.case) for trial in data.trials] == [("running", case) for case in cases]
    made = figures.case_curves(data.trials, "test_accuracy")
    assert made is not None
    line = trace(made, f"{cases[0]}, t0000 runs")
    assert list(line.y) == pytest.approx([0.35, 0.7])
    assert line.x[1] == pytest.approx(2 * line.x[0])
    assert line.line.dash == "dot"


def test_a_case_that_runs_once_more_does_not_shorten_the_mean_of_its_seeds(store: ObjectStore) -> None:
    sweep = load_sweep("numerics-digits").model_copy(update={"seeds": [0, 1, 2], "num_trials": 9})
    write_cases(store, "cases-a", sweep, dict.fromkeys(sweep.cases, 0.9))
    data = read_sweep(SweepStore(store, "cases-a"))
    first = data.trials[0]
    running = replace(
        first, trial_id="t0009", state=TrialState.RUNNING, shares=first.shares[:1], reports=first.reports[:1]
    )
    made = figures.case_curves([*data.trials, running], "validation_accuracy")
    assert made is not None
    assert trace(made, "baseline (n=3)").x[-1] == 1
    assert len(trace(made, "baseline, t0009 runs").x) == 1


def test_the_history_is_the_best_so_far_beside_random_order(data: SweepData) -> None:
    comparison = data.comparisons()[1]
    made = figures.history_figure(data, comparison)
    assert made is not None
    assert list(trace(made, "best so far").y) == np.maximum.accumulate(comparison.values).tolist()
    assert trace(made, "random order, mean").y[0] == pytest.approx(np.mean(comparison.values))


def test_slices_and_parallel_coordinates_have_every_setting(data: SweepData) -> None:
    comparison = data.comparisons()[1]
    assert list(figures.slice_figures(data, comparison)) == [
        STEP_RATIO,
        "temperature",
        "generator_steps",
        "student_steps",
    ]
    made = figures.parallel_figure(data, comparison)
    assert made is not None
    labels = [dimension.label for dimension in made.data[0].dimensions]
    assert labels == ["generator steps", "student steps", "temperature", "validation accuracy (%)"]


def test_empty_columns_are_left_out_and_the_others_keep_their_kinds() -> None:
    table = Table(
        title="",
        headings=("a", "b", "c", "d"),
        rows=[("1", "", "x", "up"), ("2", "", "", "down")],
        text_columns=frozenset({1, 2}),
        filter_column=3,
    ).filled
    assert (list(table.headings), table.rows[1]) == (["a", "c", "d"], ["2", "", "down"])
    assert table.text_columns == frozenset({1})
    assert table.filter_column == 2
