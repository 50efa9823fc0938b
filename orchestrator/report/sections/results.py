"""The sections on results: leaderboard, cases, confirmation and verdict."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from orchestrator.analysis.cases import CASE_HEADINGS
from orchestrator.config.fields import TEST_ACCURACY
from orchestrator.formatting import mean_and_deviation
from orchestrator.report import answer
from orchestrator.report.data import SweepData, shown, words
from orchestrator.report.extras import PUBLISHED, Extras
from orchestrator.report.figures.style import setting_text
from orchestrator.report.page import Block, Section, Table, time_cell
from orchestrator.reproduction.tables import HEADINGS, cells, rules
from orchestrator.results import TrialRecord
from trainables.metrics import is_share


def results_section(data: SweepData, extras: Extras) -> Section:
    """Return the section with the cases or the leaderboard; for a confirmed search, the confirmation comes first."""
    trials = [_trial_table(data)] if data.board.rows else []
    if data.sweep.cases:
        return Section(title="Results", blocks=[_case_table(data, extras), *trials])
    lead = (
        "Trials that used their whole budget come first. Test accuracy is an audit: it takes no part in the selection."
        if not data.sweep.selects_on_test
        else "The trials of this sweep are selected on test data, so their test accuracy is no audit."
    )
    if data.sweep.further_objectives:
        lead += " A star marks trials on the Pareto front."
    blocks: list[Block] = [*([_confirmation_table(data, extras)] if extras.confirmation else []), *trials]
    return Section(title="Leaderboard", blocks=blocks, lead=lead)


def verdict_section(extras: Extras) -> Section:
    """Return the section that compares results with published ones; without blocks if there are no verdicts."""
    if not extras.judgements:
        return Section(title="Against published numbers", blocks=[])
    rows = [cells(judgement) for judgement in extras.judgements]
    table = Table(title="Verdict", headings=HEADINGS, rows=rows, text_columns=frozenset({0, 5, 6}))
    return Section(title="Against published numbers", blocks=[table], lead=" ".join(rules(extras.judgements)))


def best_case_sentence(data: SweepData, extras: Extras) -> str:
    """Return the sentence that names the case with the best mean."""
    assert extras.cases is not None
    values = {case: extras.cases.values(case, data.metric) for case in data.sweep.only or data.sweep.cases}
    means = {case: statistics.fmean(found) for case, found in values.items() if found}
    if not means:
        return "No trial has ended yet, so there is no answer."
    best = max(means, key=lambda case: means[case])
    return answer.cases_sentence(best, _mean(values[best], data.metric), len(values[best]))


def _trial_table(data: SweepData) -> Table:
    """Return the table of all trials that have ended, best first."""
    rows, cases = data.board.rows, bool(data.sweep.cases)
    settings = ["seed"] if cases else data.searched
    of_search = [data.metric, *data.sweep.further_objectives, *data.sweep.constraints]
    metrics = list(dict.fromkeys([*of_search, "data_free_score", "validation_accuracy", TEST_ACCURACY]))
    metrics = [name for name in metrics if any(row.metrics[name] is not None for row in rows)]
    on_front = {row.trial_id for row in data.board.front} if data.sweep.further_objectives else set()

    def front(row: TrialRecord) -> str:
        return " *" if row.trial_id in on_front else ""

    first = ["trial", "case"] if cases else ["#", "trial"]
    headings = [*first, *map(words, settings), *(_heading(name, data) for name in metrics)]
    return Table(
        title="Trials",
        headings=[*headings, "state", "student updates", "computing", "GPU hours", "USD"],
        rows=[
            [
                *([row.trial_id, row.case or ""] if cases else [str(rank), row.trial_id + front(row)]),
                *(setting_text(row.settings[name]) for name in settings),
                *(shown(row.metrics[name], name) for name in metrics),
                data.board.ending(row),
                "" if row.metrics["student_updates"] is None else f"{row.metrics['student_updates']:,}",
                time_cell(row.computing_seconds),
                f"{row.gpu_seconds / 3600:.3g}" if row.gpu_seconds else "",
                "" if row.cost_usd is None else f"{row.cost_usd:.2f}",
            ]
            for rank, row in enumerate(rows, start=1)
        ],
        text_columns=frozenset({0, 1} if cases else {1}) | {len(headings)},
        filter_column=len(headings),
    )


def _case_table(data: SweepData, extras: Extras) -> Table:
    cases = extras.cases
    assert cases is not None
    rows = []
    for case in data.sweep.only or data.sweep.cases:
        found = [row for assignment, row in cases.rows.items() if assignment.case == case]
        seconds = [row.computing_seconds or 0.0 for row in found]
        spreads = [_mean(cases.values(case, metric), metric) for metric in cases.metrics]
        rows.append(
            [case, str(len(found)), *spreads, time_cell(sum(seconds) if found else None), cases.unsuccessful(case)]
        )
    headings = (
        "case",
        "n",
        *(f"{CASE_HEADINGS[metric]}, mean ± std (population)" for metric in cases.metrics),
        "computing",
        "not successful",
    )
    return Table(title="Cases", headings=headings, rows=rows, text_columns=frozenset({0, len(headings) - 1}))


def _confirmation_table(data: SweepData, extras: Extras) -> Table:
    found = extras.confirmation
    assert found is not None
    rows = []
    for case, label in extras.case_labels().items():
        difference = found.difference(case)
        factor = 100 if is_share(data.metric) else 1
        interval, sure = "", ""
        if label != PUBLISHED and difference.n > 1:
            mean, low, high = (factor * value for value in (difference.mean, difference.low, difference.high))
            interval, sure = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]", f"{difference.confidence_above:.0%}"
        values = found.results.values(case, data.metric)
        test = _mean(found.results.values(case, TEST_ACCURACY), TEST_ACCURACY)
        settings = (setting_text(found.sweep.cases[case].get(name)) for name in data.searched)
        rows.append([label, *settings, str(len(values)), _mean(values, data.metric), interval, sure, test])
    headings = (
        "setting",
        *map(words, data.searched),
        "n",
        f"{_heading(data.metric, data)}, mean ± std (population)",
        f"gain{' in points' if is_share(data.metric) else ''} [{found.confidence}]",
        found.sureness,
        f"{_heading(TEST_ACCURACY, data)}, mean ± std (population)",
    )
    return Table(title="Confirmed with new seeds", headings=headings, rows=rows)


def _heading(metric: str, data: SweepData) -> str:
    """Return the heading of a metric's column; that of test accuracy says whether it is an audit."""
    short_names = {
        TEST_ACCURACY: "test" if data.sweep.selects_on_test else "test (audit)",
        "validation_accuracy": "validation",
    }
    return short_names.get(metric, words(metric))


def _mean(values: Sequence[float], metric: str) -> str:
    """Format the mean and deviation of a metric, with the number format of the page's other tables."""
    return mean_and_deviation(values, ".2%" if is_share(metric) else ".4g")
