"""The chapters of the report: one for each sweep, ordered for a reader who knows nothing of it, and a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.costs.ledger import CostLedger
from orchestrator.costs.limit import spent_in_words
from orchestrator.formatting import duration
from orchestrator.report import answer
from orchestrator.report.data import SweepData
from orchestrator.report.extras import Extras
from orchestrator.report.page import Chapter, Section
from orchestrator.report.sections.comparison import side_by_side
from orchestrator.report.sections.costs import costs_section, failures_section, total_seconds
from orchestrator.report.sections.images import images_section, transitions_section
from orchestrator.report.sections.provenance import provenance_section
from orchestrator.report.sections.results import best_case_sentence, results_section, verdict_section
from orchestrator.report.sections.search import (
    curves_section,
    front_section,
    map_section,
    scores_section,
    settings_section,
)
from orchestrator.reproduction import published_targets
from orchestrator.results import SessionEvent


def chapter_of(data: SweepData, extras: Extras) -> Chapter:
    """Return a sweep's part of the page, without sections that have no data."""
    sections: list[Section] = [
        results_section(data, extras),
        map_section(data),
        front_section(data),
        curves_section(data, extras),
        settings_section(data),
        scores_section(data),
        images_section(data, extras),
        transitions_section(extras),
        verdict_section(extras),
        costs_section(data),
        failures_section(data),
        provenance_section(data),
    ]
    return Chapter(
        title=data.sweep_id,
        question=answer.question(data),
        answer=answer_of(data, extras),
        advice=answer.advice(data, extras.confirmation),
        facts=_facts(data),
        sections=[section for section in sections if section.blocks],
    )


def comparison_of(sweeps: Sequence[SweepData], extras: Sequence[Extras]) -> Chapter:
    """Return the chapter that compares several sweeps; it precedes the chapters of the sweeps."""
    answers = [answer_of(data, extra) for data, extra in zip(sweeps, extras, strict=True)]
    return Chapter(
        title="Comparison",
        question=f"How do these sweeps compare: {', '.join(data.sweep_id for data in sweeps)}?",
        answer="\n".join(f"{data.sweep_id}: {text}" for data, text in zip(sweeps, answers, strict=True)),
        facts={},
        sections=[side_by_side(sweeps)],
    )


def answer_of(data: SweepData, extras: Extras) -> str:
    """Return the result of a sweep in a sentence or two."""
    if extras.judgements:
        return answer.verdict_sentence(extras.judgements, published=data.sweep.name in published_targets())
    if data.sweep.cases:
        return best_case_sentence(data, extras)
    return answer.answer(data, extras.confirmation)


def _facts(data: SweepData) -> dict[str, str]:
    running = sum(not trial.state.ended for trial in data.trials)
    looks = [row.metrics["test_evaluations"] for row in data.board.rows if row.metrics["test_evaluations"] is not None]
    last = data.sessions[-1].event
    ledger = CostLedger()
    ledger.recall(data.board.rows, [report for trial in data.trials for report in trial.reports])
    facts = {
        "trials": data.ended_of_all,
        "ended": data.board.states_in_words,
        "not yet ended": str(running) if running else "",
        "computing time": duration(total_seconds(data)),
        "GPUs and money": spent_in_words(ledger, data.sweep.budget),
        "evaluations on the test split": f"{sum(looks):,}" if looks else "",
        "sweep": "running, or stopped without a final record" if last is SessionEvent.STARTED else last,
    }
    return {name: value for name, value in facts.items() if value}
