"""Makes the report on sweeps, or its figures for notebooks, from the result store alone."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from orchestrator.report.chapter import chapter_of, comparison_of
from orchestrator.report.data import read_sweep
from orchestrator.report.extras import read_extras
from orchestrator.report.page import Figure, render
from orchestrator.results import SweepResults, SweepSource, results_of
from orchestrator.storage import SweepStore, find_storage
from orchestrator.version import code_version
from trainables.system.clock import SYSTEM_CLOCK, Clock


def make_report(sources: Sequence[SweepSource], *, clock: Clock = SYSTEM_CLOCK) -> str:
    """Make the HTML report on one sweep, or on several sweeps of a storage and their comparison; sweeps may be running.

    Raises:
        SweepNotFoundError: the storage has no results of one of the sweeps.
    """
    results = list({one.sweep_id: one for one in map(results_of, sources)}.values())
    sweeps = [read_sweep(one) for one in results]
    extras = [read_extras(one, data) for one, data in zip(results, sweeps, strict=True)]
    chapters = [chapter_of(data, extra) for data, extra in zip(sweeps, extras, strict=True)]
    if len(sweeps) > 1:
        chapters.insert(0, comparison_of(sweeps, extras))
    title = f"{', '.join(data.sweep_id for data in sweeps)}: zskt report"
    return render(title, chapters, made=f"Made {clock.now():%Y-%m-%d %H:%M} UTC by zskt {code_version()}.")


def report_figures(storage: str, sweep_id: str) -> dict[str, go.Figure]:
    """Return the report's figures for a notebook, by title and tab, in the order of the page.

    Args:
        storage: Folder or URI, such as ``./runs`` or ``s3://bucket/prefix``.
        sweep_id: Id of the sweep.

    Raises:
        SweepNotFoundError: the storage has no results of the sweep.
    """
    results = SweepResults(SweepStore(find_storage(storage), sweep_id))
    data = read_sweep(results)
    blocks = (block for section in chapter_of(data, read_extras(results, data)).sections for block in section.blocks)
    figures = (block for block in blocks if isinstance(block, Figure))
    return {f"{figure.title} {tab}".strip(): made for figure in figures for tab, made in figure.tabs.items()}


def write_report(sweep_store: SweepStore, *, clock: Clock = SYSTEM_CLOCK) -> str:
    """Write a sweep's report to its storage, replacing an older report, and return its key.

    Raises:
        SweepNotFoundError: the storage has no results of the sweep.
    """
    sweep_store.storage.write(sweep_store.report_page, make_report([sweep_store], clock=clock).encode())
    return sweep_store.report_page
