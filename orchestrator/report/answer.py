"""The question that a sweep asks, and its answer with the uncertainty, in sentences made from the data alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.statistics import rank_correlation
from orchestrator.config import BASELINE
from orchestrator.config.blocks import StorageConfig
from orchestrator.report.data import SweepData, Trial, shown, words
from orchestrator.report.figures.style import setting_text
from orchestrator.report.page import Text
from orchestrator.results import TrialState
from orchestrator.search.distinct import trials_in_all
from trainables.config.own_images import NO_DATASET
from trainables.errors import DatasetError
from trainables.metrics import DATA_FREE_METRICS, is_share

if TYPE_CHECKING:
    from orchestrator.analysis.confirmation import Confirmation
    from orchestrator.reproduction import Judgement

_LABELS = "validation_accuracy"


def question(data: SweepData) -> str:
    """Return the question that the sweep asked, in a sentence."""
    sweep, config = data.sweep, data.sweep.configs()[0]
    pair = f"{config.student} taught by {config.teacher}" if config.teacher else config.student
    where = f"{pair}, without images" if config.dataset == NO_DATASET else f"{pair} on {config.dataset}"
    if sweep.cases:
        wanted = sweep.only or list(sweep.cases)
        many = f"How do {len(wanted)} cases compare" if len(wanted) > 1 else f"What is the result of {wanted[0]}"
        return f"{many} over {_count(len(sweep.seeds), 'seed')}{' each' if len(wanted) > 1 else ''}? {where}."
    names = _listed([words(name) for name in data.searched])
    equal = sweep.equal_budget
    amount, unit = (equal.amount, words(equal.unit)) if equal else (config.budget, words(config.unit))
    trials = _count(trials_in_all(data.board), "trial")
    return (
        f"Which {names} give the best {words(data.metric)}? {where}; {trials} of {amount:,} "
        f"{unit} each, proposed by {sweep.sampler.name}, {sweep.scheduler.in_words}."
    )


def answer(data: SweepData, confirmation: Confirmation | None) -> str:
    """Return the result of a search and how sure it is; for a search without data also its audit, if there is one."""
    return f"{_found(data, confirmation)}{_audited(data)}"


def _found(data: SweepData, confirmation: Confirmation | None) -> str:
    if confirmation is not None and any(
        confirmation.results.values(case, data.metric) for case in confirmation.sweep.cases
    ):
        return _confirmed(data, confirmation)
    best, published = data.best, data.published
    if best is None or best.row is None:
        why = data.board.without_best
        return f"{why[0].upper()}{why[1:]}, so there is no answer."
    value = best.row.objective
    assert value is not None  # a trial that used its whole budget without an objective has failed
    text = f"Best so far is {_named(best, data.searched)}, with {shown(value, data.metric)} {words(data.metric)}"
    theirs = (
        published.row.objective if published and published.row and published.state is TrialState.COMPLETED else None
    )
    if published is not None and best.trial_id == published.trial_id:
        text += ": these are the published settings"
    elif theirs is not None:
        text += f", {_difference(data.sign * (value - theirs), data.metric)} than the published settings"
    elif published is None and any(trial.number == 0 and trial.row for trial in data.trials):
        text += "; the published settings lie outside the search space"
    return f"{text}. It is not confirmed: {_doubt(data, value)}"


def advice(data: SweepData, confirmation: Confirmation | None) -> Text | None:
    """Return the command that makes the answer more certain; None if no trial can be confirmed."""
    if not data.board.contenders:
        return None
    seeds = len(confirmation.sweep.seeds) if confirmation else 0
    typed = ["zskt", "confirm", data.sweep_id, "--top", "3", "--seeds", str(5 if seeds < 5 else 2 * seeds)]
    if data.sweep.storage.uri != StorageConfig().uri:
        typed += ["--storage", data.sweep.storage.uri]
    what = (
        "More new seeds make this more certain"
        if seeds
        else "New seeds show whether the best settings are really better"
    )
    return Text(text=f"{what}:", command=shlex.join(typed))


def verdict_sentence(judgements: Sequence[Judgement], *, published: bool) -> str:
    """Return a sentence with the number of results for each verdict.

    Args:
        judgements: One for each result.
        published: Whether the results are compared with published numbers, or else with the baseline case.
    """
    verdicts = [judgement.verdict.value for judgement in judgements]
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts)]
    of = f"Of {_count(len(verdicts), 'published result')}" if published else "Against the baseline"
    return f"{of}: {_listed(counts)}."


def cases_sentence(best: str, mean: str, n: int) -> str:
    """Return the sentence that names the case with the best mean."""
    return f"The best mean has {best}: {mean} test accuracy over {_count(n, 'seed')}."


def _confirmed(data: SweepData, confirmation: Confirmation) -> str:
    best = confirmation.best
    if best == BASELINE:
        return "None of the settings that ran again with new seeds is better than the published ones on average."
    found = confirmation.difference(best)
    name = f"{best} ({_settings(confirmation.sweep.cases[best], data.searched)})"
    by = _difference(found.mean, data.metric) if not math.isnan(found.mean) else "not yet compared"
    if math.isnan(found.low):
        seeds = _count(found.n, "new seed")
        return f"Best so far is {name}, {by} than the published settings on {seeds}; more seeds are needed."
    low, high = (_amount(end, data.metric, signed=True).removesuffix(" points") for end in (found.low, found.high))
    certainty = confirmation.confidence
    counted = "" if confirmation.comparisons == 1 else f", corrected for the choice among {confirmation.comparisons}"
    doubt = "" if found.low > 0 else " The interval contains 0: the setting may be no better than the published ones."
    return (
        f"The best setting is {name}: {by} than the published settings, interval {low} to {high} ({certainty}), "
        f"over {_count(found.n, 'new seed')}; it is better with {found.confidence_above:.0%} confidence{counted}.{doubt}"
    )


def _audited(data: SweepData) -> str:
    """Return how well a score without labels ranked the trials, judged by labels; empty if no labels were read."""
    if data.board.unknown:
        return f" {data.board.unknown}"
    if data.metric not in DATA_FREE_METRICS or data.best is None:
        return ""
    both = {
        trial.trial_id: (data.sign * score, value)
        for trial in data.trials
        if trial.state is TrialState.COMPLETED
        and (score := trial.at(1.0, data.metric)) is not None
        and (value := trial.at(1.0, _LABELS)) is not None
    }
    if data.best.trial_id not in both:
        return ""
    ours, values = both[data.best.trial_id][1], [value for _, value in both.values()]
    place = 1 + sum(value > ours for value in values)
    unread = "" if _LABELS in data.sweep.selects_on else ", which took no part in the selection,"
    text = (
        f" Labels{unread} rank it {place} of {len(values)} trials that used their whole budget, "
        f"{_amount(max(values) - ours, _LABELS)} of {words(_LABELS)} behind the best."
    )
    ranks = rank_correlation([score for score, _ in both.values()], values)
    if ranks is not None:
        text += (
            f" Over these trials the rank correlation of score and labels is {ranks.value:.2f}, 95 % interval "
            f"{ranks.low:.2f} to {ranks.high:.2f}."
        )
    return text


def _doubt(data: SweepData, value: float) -> str:
    """Return why the value of the best trial, from a single run, is less certain than its digits suggest."""
    count = len(data.board.rows)
    text = f"the best of {_count(count, 'trial')} with one seed is partly the luckiest"
    images = _validation_images(data)
    if images and data.metric == "validation_accuracy":
        error = 1.96 * math.sqrt(value * (1 - value) / images)
        text += f", and {images:,} validation images alone leave ±{100 * error:.1f} points"
    return text + "."


def _validation_images(data: SweepData) -> int:
    config = data.sweep.configs()[0]
    try:
        spec = config.spec
    except (ValueError, DatasetError):
        return 0  # a data set of the user's own, which is not available on this machine
    return round(config.validation_fraction * spec.training_images)


def _named(trial: Trial, searched: Sequence[str]) -> str:
    return f"{trial.trial_id} ({_settings(trial.settings, searched)})"


def _settings(settings: Mapping[str, Any], searched: Sequence[str]) -> str:
    return ", ".join(f"{words(name)} {setting_text(settings.get(name))}" for name in searched)


def _difference(better: float, metric: str) -> str:
    return f"{_amount(abs(better), metric)} {'better' if better >= 0 else 'worse'}"


def _amount(value: float, metric: str, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f} points" if is_share(metric) else f"{value:{sign}.3g}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
