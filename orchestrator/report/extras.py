"""Optional parts of a report on one sweep: confirmation, cases, verdicts, pseudo images and transition curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.analysis.cases import read_cases
from orchestrator.analysis.confirmation import read_confirmation
from orchestrator.config import BASELINE
from orchestrator.errors import ConfigError
from orchestrator.report.data import SweepData, read_sweep
from orchestrator.reproduction.sweep_verdicts import check_target, judge_sweep
from orchestrator.results import SweepResults

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from orchestrator.analysis.cases import CaseResults
    from orchestrator.analysis.confirmation import Confirmation
    from orchestrator.reproduction import Judgement
    from trainables.training.image_snapshots import ImageSnapshot

PUBLISHED = "published settings"
"""Label of the baseline of a confirmation."""

_MOST_CURVES = 6
"""Maximum number of trials in the figure of transition curves."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """The optional parts of the report on one sweep."""

    results: SweepResults
    data: SweepData
    confirmation: Confirmation | None
    confirming: SweepData | None
    """Data of the sweep that confirms this one. None without a confirmation."""

    cases: CaseResults | None
    """Results by case. None unless the sweep has cases."""

    judgements: list[Judgement]
    """Verdicts on the cases; empty if neither published results nor a baseline apply."""

    def case_labels(self) -> dict[str, str]:
        """Return the labels of the confirmation's cases, in order; empty without a confirmation."""
        cases = self.confirmation.sweep.cases if self.confirmation else {}
        return {case: PUBLISHED if case == BASELINE else case for case in cases}

    def snapshots(self, trial_id: str) -> list[ImageSnapshot]:
        """Return a trial's snapshots of pseudo images in order; empty if none were stored."""
        folder = self.results.sweep_store.snapshots
        names = [name for name in folder.keys("") if name.startswith(f"{trial_id}-")]
        if not names:
            return []
        from trainables.training.image_snapshots import ImageSnapshot  # loads torch

        return [ImageSnapshot.from_parquet(folder.read(name)) for name in names]

    def transition_figure(self) -> go.Figure | None:
        """Draw the mean transition curves of the best trials that have curves; None if no trial has any."""
        there = self.results.trials_with_curves()
        ranked = [row for row in self.data.board.rows if row.trial_id in there][:_MOST_CURVES]
        if not ranked:
            return None
        # Imported here because the curves need torch, which takes a second to load, and most reports have no curves.
        from orchestrator.report.figures.transitions import transition_figure
        from trainables.evaluation import TransitionCurves, mean_curves

        tables = {row.label: self.results.transition_curves(row.trial_id) for row in ranked}
        curves = {label: mean_curves(TransitionCurves.from_table(table)) for label, table in tables.items()}
        made = transition_figure(curves, title="", names=("student", "teacher"))
        made.update_layout(title=None, height=460, margin={"l": 10, "r": 10, "t": 10, "b": 110})
        made.update_layout(legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0})
        return made


def read_extras(results: SweepResults, data: SweepData) -> Extras:
    """Read the optional parts of the report on a sweep."""
    confirmation, confirming = None, None
    cases, judgements = None, []
    if data.sweep.cases:
        cases = read_cases(results, data.sweep)
        judgements = _judgements(results, data)
    elif results.confirming().sessions():
        confirmation = read_confirmation(results, data.board)
        if confirmation is not None:
            confirming = read_sweep(results.confirming())
    return Extras(
        results=results,
        data=data,
        confirmation=confirmation,
        confirming=confirming,
        cases=cases,
        judgements=judgements,
    )


def _judgements(results: SweepResults, data: SweepData) -> list[Judgement]:
    try:
        check_target(data.sweep)
    except ConfigError:
        return []  # the user's own comparison, without a published result or baseline
    return judge_sweep(results, data.sweep)
