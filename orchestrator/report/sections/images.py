"""The sections on pseudo images and on transition curves."""

from __future__ import annotations

from orchestrator.report import figures
from orchestrator.report.data import SweepData, Trial
from orchestrator.report.extras import Extras
from orchestrator.report.page import Block, Figure, Picture, Pictures, Section

_HEALTH = {
    "confidence": "Highest probability of each network, mean over the images. Near 1 the teacher finds them unambiguous.",
    "class entropy": "1: all classes are equally frequent; 0: the generator makes images of a single class.",
}
_TRANSITIONS = (
    "Test images are pushed step by step towards another class along the student's gradient. Solid lines are the student's "
    "probability of that class, dashed lines the teacher's. The closer the two, the more alike the networks."
)


def images_section(data: SweepData, extras: Extras) -> Section:
    """Return a section with pseudo images, their classes and confidences, for the best and the worst trial."""
    blocks: list[Block] = []
    trials = _shown_trials(data)
    kept = {label: extras.snapshots(trial.trial_id) for label, trial in trials.items()}
    for label, snapshots in kept.items():
        if snapshots:
            pictures = [Picture(png=one.png, caption=f"after {one.share:.0%}") for one in snapshots]
            blocks.append(Pictures(title=f"Images of the generator, {label}", pictures=pictures))
    for label, snapshots in kept.items():
        if snapshots:
            last = snapshots[-1]
            made = figures.class_histogram(last.teacher_classes, last.student_classes)
            count = sum(last.teacher_classes)
            caption = (
                f"Classes that both networks see in the same {count} images, after {last.share:.0%} of the budget."
            )
            blocks.append(Figure(title=f"Classes, {label}", tabs={"": made}, caption=caption, small=True))
    for name, made in figures.health_figures(trials).items():
        title = f"{name} of teacher and student".capitalize()
        blocks.append(Figure(title=title, tabs={"": made}, caption=_HEALTH[name], small=True))
    return Section(title="Pseudo images", blocks=blocks)


def transitions_section(extras: Extras) -> Section:
    """Return the section with transition curves, without blocks if none were computed."""
    made = extras.transition_figure()
    figure = [] if made is None else [Figure(title="Mean over images", tabs={"": made}, caption=_TRANSITIONS)]
    return Section(title="Transition curves", blocks=figure)


def _shown_trials(data: SweepData) -> dict[str, Trial]:
    """Return the trials to show, by label: the best and the worst of a search, or a trial of each of the first two cases."""
    if data.sweep.cases:
        firsts: dict[str, Trial] = {}
        for trial in data.trials:
            if trial.ended_well:
                firsts.setdefault(str(trial.case), trial)
        return {f"{case} ({trial.trial_id})": trial for case, trial in list(firsts.items())[:2]}
    pairs = (("best", data.best), ("worst", data.worst))
    return {f"{label} ({trial.trial_id})": trial for label, trial in pairs if trial is not None}
