"""The section on the provenance of the numbers."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.config.fields import TEST_ACCURACY
from orchestrator.report.data import SweepData, shown
from orchestrator.report.page import Section, Table
from orchestrator.results import TrialRecord

_SESSIONS = ("session", "event", "when (UTC)", "driver", "CPUs", "GPUs", "code")


def provenance_section(data: SweepData) -> Section:
    """Return a section on data, teacher, seeds, machines, versions, settings and sessions."""
    rows = data.board.rows
    versions = data.sessions[-1].versions
    facts = {
        "data set": _each(str(row.settings["dataset"]) for row in rows),
        "teacher": _each(_teacher(row) for row in rows if row.settings["teacher"]),
        "seeds": _each(str(row.settings["seed"]) for row in rows),
        "machines of the trials": _each(_machine(row) for row in rows if row.hostname),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "config": data.sweep.model_dump_json(exclude_defaults=True, exclude={"storage", "data_root"}),
    }
    sessions = [
        [
            str(session.session),
            session.event,
            f"{session.at:%Y-%m-%d %H:%M:%S}",
            session.hostname,
            f"{session.cpus:g}",
            f"{session.gpus:g}",
            session.code_version,
        ]
        for session in data.sessions
    ]
    made_from = [[name, value] for name, value in facts.items() if value]
    return Section(
        title="Provenance",
        blocks=[
            Table(title="Made from", headings=("what", "value"), rows=made_from, text_columns=frozenset({0, 1})),
            Table(title="Sessions", headings=_SESSIONS, rows=sessions, text_columns=frozenset({1, 2, 3, 6})),
        ],
    )


def _each(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(values))


def _teacher(row: TrialRecord) -> str:
    accuracy = shown(row.teacher_test_accuracy, TEST_ACCURACY) or "unknown"
    return f"{row.settings['teacher']}, test accuracy {accuracy}, sha256 {row.teacher_sha256}"


def _machine(row: TrialRecord) -> str:
    compiled = ", compiled" if row.compiled else ""
    device = row.device_name or row.device
    return f"{row.hostname}: {device}, {row.threads} thread{'' if row.threads == 1 else 's'}{compiled}"
