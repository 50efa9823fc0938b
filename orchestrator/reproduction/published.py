"""What has been published about the presets' experiments: numbers, learning curves, transition curves. Pure data.

The numbers are those of Micaelli & Storkey (NeurIPS 2019), of their notebooks, logs and released networks, and of five
groups who ran the method again; ``data/published.yaml`` names them all. Accuracies are shares in [0, 1]; a standard
deviation is the population's over the seeds (divided by n, not n - 1), because that is what the paper prints.
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
    """A number as it was published, with as much of its spread as was given."""

    mean: Share
    """Mean over the runs, or the only run."""

    std: Share | None = None
    """Population standard deviation over the runs; none: not published."""

    n: Runs | None = None
    """Number of runs; none: not published."""

    source: str
    """Where it stands, in words."""

    @model_validator(mode="after")
    def _check_spread(self) -> Self:
        if self.std is not None and self.n == 1:
            raise ValueError(f"std={self.std}: one run has no spread")
        return self

    @property
    def low(self) -> float:
        """The mean less one standard deviation, or the mean."""
        return self.mean - (self.std or 0.0)

    @property
    def high(self) -> float:
        """The mean plus one standard deviation, or the mean."""
        return self.mean + (self.std or 0.0)


class PublishedRun(Config):
    """Holds what others got by running the method: either the value of each run or their summary."""

    who: str
    """Key in ``published_sources``."""

    code: Code
    """``official``: the authors' code as it is; ``reimplementation``: anything else."""

    values: tuple[Share, ...] = ()
    """One number a run, where they are known."""

    mean: Share | None = None
    """Mean over the runs, where only the summary is known."""

    std: Share | None = None
    """Population standard deviation over the runs, likewise."""

    n: Runs | None = None
    """Number of runs, likewise."""

    source: str
    """What was run, in words."""

    caveat: str | None = None
    """Why nothing may be judged by this number, though it is shown; none: it may."""

    @model_validator(mode="after")
    def _check_one_form(self) -> Self:
        if bool(self.values) == (self.mean is not None) or (
            self.values and (self.std is not None or self.n is not None)
        ):
            raise ValueError(f"re-run of {self.who}: allowed are either values, or mean with or without std and n")
        return self

    @property
    def summary(self) -> PublishedValue:
        """Mean, spread and number of the runs."""
        source = f"{self.who}: {self.source}"
        if self.mean is not None:
            return PublishedValue(mean=self.mean, std=self.std, n=self.n, source=source)
        std = statistics.pstdev(self.values) if len(self.values) > 1 else None
        return PublishedValue(mean=statistics.fmean(self.values), std=std, n=len(self.values), source=source)


class AcceptanceRange(Config):
    """A range in which several people's networks lie whose single values were not published."""

    low: Share
    """Lower end."""

    high: Share
    """Upper end."""

    source: str
    """Whose values it spans."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"acceptance range {self.low} to {self.high}: the lower end must come first")
        return self


class PublishedRow(Config):
    """Everything published about one case of one target."""

    target: str
    """Preset that repeats the experiment, e.g. ``paper-table-1``."""

    case: str
    """Case of that preset, e.g. ``wrn-16-2-to-wrn-16-1``."""

    metric: Metric
    """What the numbers are. ``test_accuracy_drop``: accuracy lost by leaving attention transfer out."""

    paper: PublishedValue | None = None
    """The authors' number; none: they give none."""

    reruns: tuple[PublishedRun, ...] = ()
    """Numbers of others, and of the authors outside the paper."""

    acceptance: AcceptanceRange | None = None
    """Range that widens the band, where one is known."""

    @property
    def band(self) -> tuple[float, float] | None:
        """Lowest mean - std to highest mean + std of what counts (``band_sources``); none if that is a single number.

        The paper, the re-runs of official code and the acceptance range count. Re-implementations count only where
        nothing else shows a spread: no paper std, no official re-run, no acceptance range.
        """
        ends = [end for _, low, high in self._counted() for end in (low, high)]
        return (min(ends), max(ends)) if ends and min(ends) < max(ends) else None

    @property
    def band_sources(self) -> tuple[str, ...]:
        """Whose numbers the band spans, each once: ``paper``, keys in ``published_sources``, ``acceptance range``."""
        return tuple(dict.fromkeys(who for who, _, _ in self._counted()))

    @property
    def band_rests_on_reimplementations(self) -> bool:
        """Whether re-implementations had to stand in for re-runs of official code."""
        return bool(self._stand_ins())

    @property
    def reference(self) -> PublishedValue | None:
        """What differences are taken from: the paper's number, else the re-run with most runs, official ones first."""
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
    """Names of all targets about which something is published."""
    return tuple(_rows_by_target())


def published_rows(target: str) -> list[PublishedRow]:
    """Return the published numbers of a target, case by case.

    Raises:
        ValueError: nothing is published under that name.
    """
    if target not in _rows_by_target():
        raise ValueError(f"target={target}: nothing published; allowed: {', '.join(published_targets())}")
    return list(_rows_by_target()[target])


def published_sources() -> Mapping[str, str]:
    """Short name of each source, and which paper or repository it is."""
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
    """Published evaluations of zero-shot runs that differ in their seed alone, all at the same numbers of pseudo batches."""

    pseudo_batches: tuple[int, ...]
    """Where the runs were evaluated, ascending; empty if nothing is published."""

    seeds: tuple[int, ...]
    """Seeds of the runs, ascending."""

    values: Mapping[Quantity, tuple[tuple[float, ...], ...]]
    """For each quantity, for each seed, its value at each of ``pseudo_batches``. Accuracies and confidences (mean highest
    probability on pseudo images) are shares; losses are means since the last evaluation, in nats per class."""

    source: str
    """Key in ``published_sources``, or empty."""

    def at(self, pseudo_batches: float, quantity: Quantity = "test_accuracy") -> tuple[float, ...] | None:
        """Value of each seed after so many pseudo batches, in the order of ``seeds``.

        Between two evaluations the value is interpolated linearly; before the first and after the last there is none.
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
    """Return the published learning curves of one setting; without seeds and points if there are none.

    Args:
        dataset: ``cifar10`` or ``svhn``.
        teacher: Architecture, e.g. ``wrn-40-2``.
        student: Architecture, e.g. ``wrn-16-1``.
        attention_weight: 250, or 0 for runs without attention transfer.
        horizon: Pseudo batches after which both learning rates reach 0. Curves with another horizon cannot be compared.
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
    """Holds the two average curves of Figure 4: how far images are pushed towards another class, step by step.

    Each step descends the student's cross-entropy for that class by a gradient of factor 1. The curves average 1,000 test
    images and 9 classes each; index 0 is the untouched image.
    """

    student: tuple[float, ...]
    """Student's probability of the class, at each step."""

    student_se: tuple[float, ...]
    """Its standard error, of 9,000 curves taken as independent."""

    teacher: tuple[float, ...]
    """Teacher's probability of the class, at each step."""

    teacher_se: tuple[float, ...]
    """Its standard error, likewise."""

    source: str
    """Key in ``published_sources``."""

    def mean_gap(self, steps: int = 100) -> float:
        """Mean absolute gap of the two average curves over the first steps; at most the mean transition error.

        The error averages each image's own gap, so that gaps of opposite sign do not cancel.
        """
        pairs = zip(self.student[:steps], self.teacher[:steps], strict=True)
        return statistics.fmean(abs(student - teacher) for student, teacher in pairs)


def published_transition_curves(dataset: str, method: TransitionMethod) -> PublishedCurves:
    """Average transition curves of the paper, WRN-40-2 to WRN-16-1, read off its figure file.

    Raises:
        ValueError: the paper has none for this data set and method.
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
