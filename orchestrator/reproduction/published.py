"""Published results of the experiments that the presets repeat: numbers, learning curves and transition curves.

The numbers come from Micaelli & Storkey (NeurIPS 2019), from their notebooks, logs and released networks, and from five
groups who ran the method again; ``numbers/published.yaml`` names all sources. Accuracies are shares in [0, 1]. Standard
deviations are population standard deviations over the seeds (divided by n, not n - 1), as the paper prints them.
"""

from __future__ import annotations

import csv
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import Field, TypeAdapter, model_validator

from trainables.config import Config

Metric = Literal["test_accuracy", "test_accuracy_drop", "mean_transition_error"]
Code = Literal["official", "reimplementation"]
TransitionMethod = Literal["zero-shot", "kd-at"]
Quantity = Literal["test_accuracy", "generator_loss", "student_loss", "teacher_confidence", "student_confidence"]

Share = Annotated[float, Field(ge=0, le=1)]
Runs = Annotated[int, Field(ge=1)]


class PublishedValue(Config):
    """A published number, with its standard deviation and number of runs if they were published."""

    mean: Share
    """Mean over the runs, or the value of a single run."""

    std: Share | None = None
    """Population standard deviation over the runs. None if it was not published."""

    n: Runs | None = None
    """Number of runs. None if it was not published."""

    source: str
    """Place of publication, in words."""

    @model_validator(mode="after")
    def _check_spread(self) -> Self:
        if self.std is not None and self.n == 1:
            raise ValueError(f"std={self.std}: one run has no spread")
        return self

    @property
    def low(self) -> float:
        """Mean minus one standard deviation; the mean if no standard deviation was published."""
        return self.mean - (self.std or 0.0)

    @property
    def high(self) -> float:
        """Mean plus one standard deviation; the mean if no standard deviation was published."""
        return self.mean + (self.std or 0.0)


class PublishedRun(Config):
    """Results that somebody published of running the method again: the value of each run, or a summary of the runs."""

    who: str
    """Key of the source in ``published_sources``."""

    code: Code
    """``official`` for the authors' unchanged code, else ``reimplementation``."""

    values: tuple[Share, ...] = ()
    """Value of each run; empty if only a summary was published."""

    mean: Share | None = None
    """Mean over the runs. None if the value of each run is known."""

    std: Share | None = None
    """Population standard deviation over the runs. None if it was not published or the value of each run is known."""

    n: Runs | None = None
    """Number of runs. None if it was not published or the value of each run is known."""

    source: str
    """Description of the runs."""

    caveat: str | None = None
    """Why verdicts ignore this result, although it is shown. None if verdicts use the result."""

    @model_validator(mode="after")
    def _check_one_form(self) -> Self:
        if bool(self.values) == (self.mean is not None) or (
            self.values and (self.std is not None or self.n is not None)
        ):
            raise ValueError(f"re-run of {self.who}: allowed are either values, or mean with or without std and n")
        return self

    @property
    def summary(self) -> PublishedValue:
        """Mean, standard deviation and number of the runs."""
        source = f"{self.who}: {self.source}"
        if self.mean is not None:
            return PublishedValue(mean=self.mean, std=self.std, n=self.n, source=source)
        std = statistics.pstdev(self.values) if len(self.values) > 1 else None
        return PublishedValue(mean=statistics.fmean(self.values), std=std, n=len(self.values), source=source)


class AcceptanceRange(Config):
    """A range that contains the results of several groups whose single values were not published."""

    low: Share
    """Lower end of the range."""

    high: Share
    """Upper end of the range."""

    source: str
    """Groups whose results the range spans."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"acceptance range {self.low} to {self.high}: the lower end must come first")
        return self


class PublishedRow(Config):
    """All published results of one case of one target."""

    target: str
    """Preset that repeats the experiment, such as ``paper-table-1``."""

    case: str
    """Case of the preset, such as ``wrn-16-2-to-wrn-16-1``."""

    metric: Metric
    """Metric of the numbers. ``test_accuracy_drop`` is the accuracy lost by leaving out attention transfer."""

    paper: PublishedValue | None = None
    """The number in the paper. None if the paper gives none."""

    reruns: tuple[PublishedRun, ...] = ()
    """Results of other people, and of the authors outside the paper."""

    acceptance: AcceptanceRange | None = None
    """Range that widens the band. None if no such range is known."""

    @property
    def band(self) -> tuple[float, float] | None:
        """Lowest mean - std and highest mean + std of the results in ``band_sources``. None if these do not differ.

        The paper, re-runs of official code and the acceptance range count. Re-implementations count only if nothing else
        shows a spread: no standard deviation in the paper, no official re-run and no acceptance range.
        """
        ends = [end for _, low, high in self._counted() for end in (low, high)]
        return (min(ends), max(ends)) if ends and min(ends) < max(ends) else None

    @property
    def band_sources(self) -> tuple[str, ...]:
        """Distinct sources of the band: ``paper``, keys in ``published_sources``, and ``acceptance range``."""
        return tuple(dict.fromkeys(who for who, _, _ in self._counted()))

    @property
    def band_rests_on_reimplementations(self) -> bool:
        """Whether the band uses re-implementations, because nothing else shows a spread."""
        return bool(self._stand_ins())

    @property
    def reference(self) -> PublishedValue | None:
        """Number with which results are compared: the paper's, else that of the re-run with the most runs.

        Re-implementations are used only if there are no official re-runs. None if nothing is published.
        """
        reruns = self._admitted("official") or self._admitted("reimplementation")
        return self.paper or max((rerun.summary for rerun in reruns), key=lambda value: value.n or 0, default=None)

    def _admitted(self, code: Code) -> list[PublishedRun]:
        return [rerun for rerun in self.reruns if rerun.code == code and rerun.caveat is None]

    def _stand_ins(self) -> list[PublishedRun]:
        paper_has_spread = self.paper is not None and self.paper.std is not None
        if paper_has_spread or self.acceptance or self._admitted("official"):
            return []
        return self._admitted("reimplementation")

    def _counted(self) -> list[tuple[str, float, float]]:
        values = [("paper", self.paper)] if self.paper else []
        values += [(rerun.who, rerun.summary) for rerun in [*self._admitted("official"), *self._stand_ins()]]
        counted = [(who, value.low, value.high) for who, value in values]
        if self.acceptance:
            counted.append(("acceptance range", self.acceptance.low, self.acceptance.high))
        return counted


def published_targets() -> tuple[str, ...]:
    """Return the names of all targets with published results."""
    return tuple(_rows_by_target())


def published_rows(target: str) -> list[PublishedRow]:
    """Return the published results of a target, one row for each case.

    Raises:
        ValueError: the target has no published results.
    """
    if target not in _rows_by_target():
        raise ValueError(f"target={target}: nothing published; allowed: {', '.join(published_targets())}")
    return list(_rows_by_target()[target])


def published_sources() -> Mapping[str, str]:
    """Return the paper or repository of each source, by the source's short name."""
    sources: dict[str, str] = _document()["sources"]
    return sources


@cache
def _rows_by_target() -> dict[str, tuple[PublishedRow, ...]]:
    adapter = TypeAdapter(tuple[PublishedRow, ...])
    targets: dict[str, list[dict[str, Any]]] = _document()["targets"]
    found = {}
    for target, entries in targets.items():
        rows = adapter.validate_python([{"target": target, **entry} for entry in entries])
        cases = [row.case for row in rows]
        if repeated := {case for case in cases if cases.count(case) > 1}:
            raise ValueError(f"{target}: more than one row for {', '.join(sorted(repeated))}")
        if unknown := {rerun.who for row in rows for rerun in row.reruns} - set(published_sources()):
            raise ValueError(f"{target}: sources has no {', '.join(sorted(unknown))}")
        found[target] = rows
    return found


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(_data("published.yaml"))
    return document


def _data(name: str) -> str:
    return resources.files("orchestrator.reproduction").joinpath("numbers", name).read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class LearningCurves:
    """Published evaluations of zero-shot runs that differ only in their seed, all at the same numbers of pseudo batches."""

    pseudo_batches: tuple[int, ...]
    """Numbers of pseudo batches at which the runs were evaluated, ascending; empty if nothing is published."""

    seeds: tuple[int, ...]
    """Seeds of the runs, ascending."""

    values: Mapping[Quantity, tuple[tuple[float, ...], ...]]
    """Values of each quantity by seed and by ``pseudo_batches``. Accuracies and confidences (mean highest probability on
    pseudo images) are shares; losses are means since the last evaluation, in nats per class."""

    source: str
    """Key of the source in ``published_sources``; empty if nothing is published."""

    def at(self, pseudo_batches: float, quantity: Quantity = "test_accuracy") -> tuple[float, ...] | None:
        """Return the value of each seed after a number of pseudo batches, in the order of ``seeds``.

        Between two evaluations the value is interpolated linearly. Before the first and after the last one it is None.
        """
        points = self.pseudo_batches
        if not points or not points[0] <= pseudo_batches <= points[-1]:
            return None
        right = bisect_left(points, pseudo_batches)
        if points[right] == pseudo_batches:
            return tuple(run[right] for run in self.values[quantity])
        weight = (pseudo_batches - points[right - 1]) / (points[right] - points[right - 1])
        return tuple(run[right - 1] + weight * (run[right] - run[right - 1]) for run in self.values[quantity])


def learning_curves(dataset: str, teacher: str, student: str, attention_weight: float, horizon: int) -> LearningCurves:
    """Return the published learning curves of one setting; without seeds and points if none are published.

    Args:
        dataset: ``cifar10`` or ``svhn``.
        teacher: Architecture of the teacher, such as ``wrn-40-2``.
        student: Architecture of the student, such as ``wrn-16-1``.
        attention_weight: 250, or 0 for runs without attention transfer.
        horizon: Learning-rate horizon: pseudo batches after which both learning rates reach 0. Curves with different
            horizons cannot be compared.
    """
    setting = (dataset, teacher, student, float(attention_weight), horizon)
    runs: dict[int, list[dict[str, str]]] = {}
    for record in _records("learning_curves.csv"):
        if _setting(record) == setting:
            runs.setdefault(int(record["seed"]), []).append(record)
    seeds = tuple(sorted(runs))
    points = {tuple(int(record["pseudo_batches"]) for record in runs[seed]) for seed in seeds}
    if len(points) > 1:
        raise ValueError(f"{teacher} to {student} on {dataset}: seeds evaluated at different numbers of pseudo batches")
    quantities: tuple[Quantity, ...] = get_args(Quantity)
    return LearningCurves(
        pseudo_batches=next(iter(points), ()),
        seeds=seeds,
        values={name: tuple(tuple(float(r[name]) for r in runs[seed]) for seed in seeds) for name in quantities},
        source=runs[seeds[0]][0]["source"] if seeds else "",
    )


def _setting(record: Mapping[str, str]) -> tuple[str, str, str, float, int]:
    weight, horizon = float(record["attention_weight"]), int(record["learning_rate_horizon"])
    return record["dataset"], record["teacher"], record["student"], weight, horizon


@dataclass(frozen=True, kw_only=True)
class PublishedCurves:
    """The two mean transition curves of the paper's Figure 4: the probability of the target class at each step.

    Each step descends the gradient of the student's cross-entropy for the target class, with step size 1. The curves are
    means over 1,000 test images with 9 target classes each; index 0 is the unchanged image.
    """

    student: tuple[float, ...]
    """The student's probability of the target class at each step."""

    student_se: tuple[float, ...]
    """Standard error of ``student``, with all 9,000 curves taken as independent."""

    teacher: tuple[float, ...]
    """The teacher's probability of the target class at each step."""

    teacher_se: tuple[float, ...]
    """Standard error of ``teacher``, with all 9,000 curves taken as independent."""

    source: str
    """Key of the source in ``published_sources``."""

    def mean_gap(self, steps: int = 100) -> float:
        """Return the mean absolute gap of the two mean curves over the first steps; at most the mean transition error.

        The mean transition error averages the gaps of single images, in which gaps of opposite sign do not cancel.
        """
        pairs = zip(self.student[:steps], self.teacher[:steps], strict=True)
        return statistics.fmean(abs(student - teacher) for student, teacher in pairs)


def published_transition_curves(dataset: str, method: TransitionMethod) -> PublishedCurves:
    """Return the paper's mean transition curves, from WRN-40-2 to WRN-16-1, as read from its figure file.

    Raises:
        ValueError: the paper has no curves for this data set and method.
    """
    records = [r for r in _records("transition_curves.csv") if (r["dataset"], r["method"]) == (dataset, method)]
    if not records:
        known = dict.fromkeys(f"{r['dataset']} {r['method']}" for r in _records("transition_curves.csv"))
        raise ValueError(f"dataset={dataset}, method={method}: no published curve; allowed: {', '.join(known)}")
    return PublishedCurves(
        student=_column(records, "student"),
        student_se=_column(records, "student_se"),
        teacher=_column(records, "teacher"),
        teacher_se=_column(records, "teacher_se"),
        source=records[0]["source"],
    )


def _column(records: Sequence[Mapping[str, str]], name: str) -> tuple[float, ...]:
    return tuple(float(record[name]) for record in records)


@cache
def _records(name: str) -> tuple[dict[str, str], ...]:
    return tuple(csv.DictReader(_data(name).splitlines()))
