from __future__ import annotations

import io
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.reproduction import (
    Judgement,
    LearningCurves,
    PublishedRow,
    Spread,
    Verdict,
    judge,
    judge_on_curve,
    learning_curves,
    published_rows,
    spread_between_seeds,
    verdict_markdown,
    verdict_table,
)
from orchestrator.reproduction.baseline import BASELINE_RULE
from orchestrator.reproduction.published import AcceptanceRange
from orchestrator.reproduction.verdict import BAND_RULE, CURVE_RULE
from tests.support.paths import ROOT
from tests.support.published_rows import official, paper, reimplementation, row

T2, T4 = 4.302653, 2.776445
"""Student's t for 95 %, two-sided, with 2 and 4 degrees of freedom, from a printed table."""

BAND = row(paper(0.80, 0.01, 3))
"""Its band is 0.79 to 0.81."""


def around(mean: float, std: float) -> list[float]:
    """Three values with this mean and this population standard deviation."""
    step = std * math.sqrt(1.5)
    return [mean - step, mean, mean + step]


def test_the_difference_has_welchs_interval() -> None:
    # Equal spreads of equally many: 4 degrees of freedom. Sample variance 1.5 points^2 a side, 1 a difference of means.
    judgement = judge(around(0.805, 0.01), BAND)
    assert judgement.difference == pytest.approx(0.005)
    assert judgement.difference_high == pytest.approx(0.005 + T4 * 0.01, abs=1e-7)
    assert judgement.difference_low == pytest.approx(0.005 - T4 * 0.01, abs=1e-7)
    assert (judgement.mean, judgement.std) == pytest.approx((0.805, 0.01))


def test_welchs_degrees_of_freedom_follow_the_spreads() -> None:
    # Against scipy.stats.ttest_ind(equal_var=False), 2.637 degrees of freedom.
    judgement = judge([0.8307, 0.8349, 0.8224], published_rows("paper-table-1")[0])
    assert (judgement.difference_low, judgement.difference_high) == pytest.approx((-0.008715, 0.018582), abs=1e-6)
    # One side alone scatters: its own 2 degrees of freedom.
    judgement = judge([0.8, 0.8, 0.8], BAND)
    assert judgement.difference_high == pytest.approx(T2 * 0.01 / math.sqrt(2), abs=1e-7)


def test_a_published_number_without_spread_is_taken_to_scatter_as_ours_do() -> None:
    # By hand: the sample variance of our three is 1.5 points^2, a third of it our mean's; theirs is of n runs, or of one.
    for reference, runs in ((paper(0.80), 1), (paper(0.80, None, 3), 3), (paper(0.80, 0.01), 1)):
        judgement = judge(around(0.80, 0.01), row(reference))
        assert judgement.difference_high == pytest.approx(T2 * 0.01 * math.sqrt(1.5 / 3 + 1.5 / runs), abs=1e-7)


@pytest.mark.parametrize(
    ("values", "verdict", "note"),
    [
        (around(0.800, 0.001), "reproduced", ""),
        (around(0.790, 0.001), "reproduced", ""),
        # Welch's interval of the difference, with 2 degrees of freedom: 3.05 points to either side.
        (around(0.835, 0.001), "better", "2.50 points above the band"),
        (around(0.765, 0.001), "worse", "2.50 points below the band"),
        (
            around(0.825, 0.001),
            "not enough runs",
            "1.50 points above the band, but the published runs are too few to tell: the difference's interval contains 0",
        ),
        # Standard error 0.707 points, times 4.30: the interval is 3.04 points to either side.
        (around(0.830, 0.010), "not enough runs", "2.00 points above the band, but the mean's interval reaches it"),
        (around(0.770, 0.010), "not enough runs", "2.00 points below the band, but the mean's interval reaches it"),
        ([0.99, 0.99], "not enough runs", "1 more run needed"),
        ([0.99], "not enough runs", "2 more runs needed"),
        ([], "not enough runs", "3 more runs needed"),
    ],
)
def test_whole_runs_are_judged_by_the_band(values: list[float], verdict: str, note: str) -> None:
    judgement = judge(values, BAND)
    assert (judgement.verdict, judgement.note) == (verdict, note)
    assert judgement.band == pytest.approx((0.79, 0.81)) and judgement.n == len(values)


def test_our_own_mean_has_its_interval() -> None:
    judgement = judge(around(0.830, 0.010), BAND)
    # By hand: 83 points, a sample variance of 1.5 points^2, t(2) = 4.3027.
    assert judgement.mean_low == pytest.approx(0.830 - T2 * 0.01 * math.sqrt(1.5 / 3), abs=1e-7)
    assert judgement.mean_high == pytest.approx(0.830 + T2 * 0.01 * math.sqrt(1.5 / 3), abs=1e-7)


def test_an_acceptance_range_is_named_with_its_source() -> None:
    acceptance = AcceptanceRange(low=0.77, high=0.81, source="four groups")
    judgement = judge(around(0.775, 0.001), row(paper(0.80, 0.01, 3), acceptance=acceptance))
    assert judgement.verdict == Verdict.REPRODUCED
    assert judgement.note == "acceptance range 77.00 to 81.00 %: four groups"


@pytest.mark.parametrize("runs", [3, 10, 100])
def test_a_sound_implementation_is_seldom_called_better_or_worse(runs: int) -> None:
    """Normal draws on both sides, three published runs: 1.6 % of implementations with 3 runs are called better or worse,
    4.8 % with 10, 5.8 % with 100 (3,000 repeats); by the band alone it would be 17 % with 100. Three published runs place
    the band's ends badly, so that 58, 65 and 71 % are called reproduced, and for the rest the runs are not enough. The
    draws have a fixed seed, so this test has no false alarm.
    """
    draw = random.Random(0)
    judged = []
    for _ in range(1500):
        theirs = [draw.gauss(0.8, 0.01) for _ in range(3)]
        ours = [draw.gauss(0.8, 0.01) for _ in range(runs)]
        judged.append(judge(ours, row(paper(statistics.fmean(theirs), statistics.pstdev(theirs), 3))).verdict)
    wrong = sum(verdict in {Verdict.BETTER, Verdict.WORSE} for verdict in judged)
    assert wrong / len(judged) < 0.07
    assert judged.count(Verdict.REPRODUCED) / len(judged) > 0.55


@pytest.mark.parametrize("metric", ["mean_transition_error", "test_accuracy_drop"])
def test_less_error_and_less_loss_are_better(metric: str) -> None:
    published = row(paper(0.2, 0.01, 3), metric=metric)
    assert judge(around(0.1, 0.001), published).verdict == Verdict.BETTER
    assert judge(around(0.3, 0.001), published).verdict == Verdict.WORSE
    single = row(paper(0.2), metric=metric)
    assert judge(around(0.1, 0.001), single).verdict == Verdict.BETTER
    assert judge(around(0.3, 0.001), single).verdict == Verdict.WORSE


def test_a_single_published_number_is_judged_by_the_difference() -> None:
    # The published run scatters as ours do, so the interval is twice 3.04 points to either side.
    single = row(paper(0.80))
    assert judge(around(0.860, 0.010), single).verdict == Verdict.REPRODUCED
    assert judge(around(0.862, 0.010), single).verdict == Verdict.BETTER
    assert judge(around(0.738, 0.010), single).verdict == Verdict.WORSE
    assert judge(around(0.80, 0.01), single).note == "a single number is published, no band"
    assert judge([0.80, 0.80], single).verdict == Verdict.NOT_ENOUGH_RUNS


def test_what_nobody_published_cannot_be_reproduced() -> None:
    for published in (row(None), row(None, reimplementation(0.7, caveat="broken"))):
        judgement = judge(around(0.8, 0.01), published)
        assert judgement.verdict == Verdict.NO_PUBLISHED_VALUE
        assert judgement.paper_mean is None and math.isnan(judgement.difference)


def test_without_the_papers_number_the_rerun_is_the_measure() -> None:
    judgement = judge(around(0.82, 0.01), row(None, official(0.79, 0.80, 0.81)))
    assert judgement.difference == pytest.approx(0.02)
    assert judgement.paper_mean is None and "difference from SG: official" in judgement.note


def test_a_band_of_reimplementations_says_so() -> None:
    judgement = judge(around(0.78, 0.001), row(paper(0.80), reimplementation(0.75)))
    assert judgement.verdict == Verdict.REPRODUCED
    assert judgement.note == "band rests on re-implementations (FE)"


def test_a_few_runs_have_no_interval() -> None:
    judgement = judge([0.81], BAND)
    assert judgement.difference == pytest.approx(0.01)
    assert math.isnan(judgement.std) and math.isnan(judgement.difference_low) and math.isnan(judgement.difference_high)
    assert math.isnan(judge([], BAND).mean) and math.isnan(judge([], BAND).difference)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_run_is_no_value(value: float) -> None:
    with pytest.raises(ValueError, match="allowed are finite numbers"):
        judge([0.8, 0.8, value], BAND)
    with pytest.raises(ValueError, match="allowed are finite numbers"):
        judge_on_curve([value], [0.8, 0.8], spread=None)


shares = st.floats(0, 1)
three_or_more = st.lists(shares, min_size=3, max_size=6)
published = st.one_of(
    st.builds(paper, shares),
    st.builds(paper, shares, st.floats(0.001, 0.2), st.integers(2, 5)),
).map(row)
_RANK = {Verdict.WORSE: 0, Verdict.NOT_ENOUGH_RUNS: 1, Verdict.REPRODUCED: 1, Verdict.BETTER: 2}


@given(values=three_or_more, published=published, shift=st.floats(0, 1))
def test_more_accuracy_never_makes_a_verdict_worse(values: list[float], published: PublishedRow, shift: float) -> None:
    before, after = judge(values, published), judge([value + shift for value in values], published)
    assert _RANK[after.verdict] >= _RANK[before.verdict]


@given(values=three_or_more, published=published)
def test_the_order_of_the_seeds_does_not_matter(values: list[float], published: PublishedRow) -> None:
    assert judge(values, published).verdict == judge(values[::-1], published).verdict


@given(values=three_or_more, mean=shares, std=st.floats(0.001, 0.2))
def test_errors_are_judged_as_accuracies_are_in_the_mirror(values: list[float], mean: float, std: float) -> None:
    accuracy = judge(values, row(paper(mean, std, 3)))
    error = judge([1 - value for value in values], row(paper(1 - mean, std, 3), metric="mean_transition_error"))
    assert error.verdict == accuracy.verdict
    assert error.difference == pytest.approx(-accuracy.difference, abs=1e-9)


@given(values=three_or_more, published=published)
def test_the_interval_holds_the_difference(values: list[float], published: PublishedRow) -> None:
    judgement = judge(values, published)
    assert judgement.difference_low <= judgement.difference <= judgement.difference_high


def test_two_groups_on_a_curve_are_compared_by_their_pooled_variance() -> None:
    # Pooled sample variance (4.5 + 1.5 * 4) / 2 = 5.25 points^2; the difference's variance is two thirds of it.
    half = T4 * math.sqrt(5.25 * 2 / 3) / 100
    judgement = judge_on_curve(around(0.70, math.sqrt(3) / 100), around(0.70 + half - 1e-4, 0.02), spread=None)
    assert judgement.verdict == Verdict.ON_CURVE
    assert judgement.difference_high - judgement.difference_low == pytest.approx(2 * half, abs=1e-7)
    judgement = judge_on_curve(around(0.70, math.sqrt(3) / 100), around(0.70 + half + 1e-4, 0.02), spread=None)
    assert judgement.verdict == Verdict.OFF_CURVE


def test_a_foreign_spread_does_not_outweigh_several_runs_on_both_sides() -> None:
    values, published_seeds = around(0.70, 0.01), around(0.71, 0.01)
    spread = Spread(std=0.3, degrees_of_freedom=4)
    assert judge_on_curve(values, published_seeds, spread=spread) == judge_on_curve(
        values, published_seeds, spread=None
    )


@pytest.mark.parametrize(("mean", "side"), [(0.55, "below"), (0.85, "above")])
def test_fifteen_points_are_off_the_curve(mean: float, side: str) -> None:
    judgement = judge_on_curve(around(mean, 0.03), around(0.70, 0.03), spread=None, case="early")
    assert judgement.verdict == Verdict.OFF_CURVE
    assert judgement.note == f"15.00 points {side}; interval from the pooled variance, 4 degrees of freedom"
    assert judgement.case == "early" and judgement.paper_std == pytest.approx(0.03)


def test_leaving_attention_out_is_seen_within_the_first_hundredths() -> None:
    with_attention = learning_curves("cifar10", "wrn-16-2", "wrn-16-1", 250, 80_000).at(1_600)
    without = learning_curves("cifar10", "wrn-16-2", "wrn-16-1", 0, 80_000).at(1_600)
    assert with_attention and without
    assert judge_on_curve(without, with_attention, spread=None).verdict == Verdict.OFF_CURVE


def test_a_lone_run_is_judged_by_a_prediction_interval() -> None:
    spread = Spread(std=0.03, degrees_of_freedom=4)
    # One of ours against one published: the difference's standard deviation is 3 points times the root of 2.
    half = T4 * 0.03 * math.sqrt(2)
    judgement = judge_on_curve([0.70 + half - 1e-4], [0.70], spread=spread)
    assert judgement.verdict == Verdict.ON_CURVE
    assert judgement.difference_low == pytest.approx(-1e-4, abs=1e-6)
    assert judgement.note == "prediction interval from the spread of other published seeds, 3.00 points"
    assert judge_on_curve([0.70 + half + 1e-4], [0.70], spread=spread).verdict == Verdict.OFF_CURVE
    # Against three: 3 points times the root of 4/3.
    half = T4 * 0.03 * math.sqrt(4 / 3)
    assert judge_on_curve([0.70 + half + 1e-4], around(0.70, 0.001), spread=spread).verdict == Verdict.OFF_CURVE
    assert judge_on_curve([0.70 + half - 1e-4], around(0.70, 0.001), spread=spread).verdict == Verdict.ON_CURVE


def test_three_runs_against_a_lone_published_one_take_the_spread_between_published_seeds() -> None:
    half = T4 * 0.03 * math.sqrt(1 + 1 / 3)
    judgement = judge_on_curve(around(0.70, 0.001), [0.70], spread=Spread(std=0.03, degrees_of_freedom=4))
    assert judgement.difference_high == pytest.approx(half, abs=1e-7)
    assert judgement.paper_std is None and judgement.band is None


def test_without_a_known_spread_the_side_with_several_runs_gives_it() -> None:
    # Two values 2 points apart: sample variance 2 points^2, 1 degree of freedom; three: 1 point^2, 2 degrees.
    judgement = judge_on_curve([0.70], [0.69, 0.70, 0.71], spread=None)
    assert judgement.difference_high == pytest.approx(T2 * 0.01 * math.sqrt(4 / 3), abs=1e-7)
    assert judgement.note == "interval from the published variance, 2 degrees of freedom"
    judgement = judge_on_curve([0.69, 0.70, 0.71], [0.70], spread=None)
    assert judgement.difference_high == pytest.approx(T2 * 0.01 * math.sqrt(4 / 3), abs=1e-7)
    assert judgement.note == "interval from our own variance, 2 degrees of freedom"
    judgement = judge_on_curve([0.70], [0.70], spread=None)
    assert judgement.verdict == Verdict.NOT_ENOUGH_RUNS
    assert judgement.note == "1 more run needed: the spread between seeds is not known"


def test_without_runs_or_without_a_curve_there_is_nothing_to_compare() -> None:
    spread = Spread(std=0.03, degrees_of_freedom=4)
    nothing_run = judge_on_curve([], [0.7, 0.71], spread=spread)
    assert (nothing_run.verdict, nothing_run.note) == (Verdict.NOT_ENOUGH_RUNS, "1 more run needed")
    nothing_published = judge_on_curve([0.7, 0.71], [], spread=spread)
    assert nothing_published.verdict == Verdict.NO_PUBLISHED_CURVE
    assert nothing_published.paper_mean is None and math.isnan(nothing_published.difference)


@given(ours=st.lists(shares, min_size=2, max_size=5), theirs=st.lists(shares, min_size=2, max_size=5))
def test_the_comparison_on_a_curve_has_no_favourite(ours: list[float], theirs: list[float]) -> None:
    one, other = judge_on_curve(ours, theirs, spread=None), judge_on_curve(theirs, ours, spread=None)
    assert one.verdict == other.verdict
    assert one.difference_low == pytest.approx(-other.difference_high, abs=1e-9)


def test_one_true_seed_in_twenty_is_called_off() -> None:
    draw = random.Random(0)
    off = 0
    for _ in range(400):
        ours, theirs = ([draw.gauss(0.7, 0.03) for _ in range(3)] for _ in range(2))
        off += judge_on_curve(ours, theirs, spread=None).verdict == Verdict.OFF_CURVE
    assert 0.02 < off / 400 < 0.08


def curves_of(*runs: tuple[float, ...]) -> LearningCurves:
    points = tuple(100 * (index + 1) for index in range(len(runs[0])))
    values = {"test_accuracy": runs}
    return LearningCurves(pseudo_batches=points, seeds=tuple(range(len(runs))), values=values, source="SG")  # type: ignore[arg-type]


def test_the_spread_is_pooled_over_neighbouring_evaluations() -> None:
    # Seeds 2 points apart have a sample variance of 2 points^2; those of 0.4 and 100 lie outside the five around 300.
    one = (0.50, 0.50, 0.50, 0.50, 0.50, 0.50)
    other = (0.52, 0.52, 0.54, 0.52, 0.52, 0.90)
    spread = spread_between_seeds(curves_of(one, other), 320)
    # Four times 2 and once 8 points^2.
    assert spread and spread.std == pytest.approx(math.sqrt(16 / 5) / 100)
    assert spread.degrees_of_freedom == 2
    # At the curve's end, the last three: 2, 2 and 800 points^2.
    spread = spread_between_seeds(curves_of(one, other), 600)
    assert spread and spread.std == pytest.approx(math.sqrt(804 / 3) / 100)


def test_the_spread_of_the_published_seeds_shrinks_along_the_run() -> None:
    curves = learning_curves("cifar10", "wrn-16-2", "wrn-16-1", 250, 80_000)
    early, late = spread_between_seeds(curves, 800), spread_between_seeds(curves, 56_000)
    assert early and late and early.degrees_of_freedom == late.degrees_of_freedom == 4
    # At 56,000 the three seeds lie within 0.03 points; no one would believe that of a fourth.
    assert early.std > 0.04 and 0.003 < late.std < 0.008


def test_a_lone_seed_or_a_point_beside_the_curve_has_no_spread() -> None:
    assert spread_between_seeds(curves_of((0.5, 0.6)), 100) is None
    assert spread_between_seeds(curves_of((0.5, 0.6), (0.5, 0.7)), 99) is None
    assert spread_between_seeds(learning_curves("svhn", "wrn-16-2", "wrn-16-1", 250, 80_000), 800) is None


def judgements() -> list[Judgement]:
    return [
        judge([0.8307, 0.8349, 0.8224], published_rows("paper-table-1")[0]),
        judge([0.25], published_rows("paper-figure-4")[0]),
        judge([], row(None)),
    ]


def test_the_markdown_table_says_all() -> None:
    head, rule, *lines = verdict_markdown(judgements()).splitlines()
    assert head == (
        "| case | ours (mean ± std, n) [95 % interval of the mean] | paper | band of re-runs | difference [95 % interval] "
        "| verdict | note |"
    )
    assert rule.count("---") == 7
    assert lines == [
        "| wrn-16-2-to-wrn-16-1 | 82.93 ± 0.52 % (n=3) [81.35, 84.51] | 82.44 ± 0.21 % | 82.23 to 83.54 % "
        "| +0.49 [-0.87, +1.86] | reproduced |  |",
        "| zero-shot | 0.2500 (n=1) | 0.2182 | 0.1800 to 0.2460 | +0.0318 | not enough runs "
        "| 2 more runs needed; band rests on re-implementations (FE, DP) |",
        "| c | no runs | none | none |  | no published value |  |",
        "",
        BAND_RULE,
    ]


def test_a_case_cannot_break_the_markdown_table() -> None:
    line, *rules = verdict_markdown([judge_on_curve([], [], spread=None, case="a|b")]).splitlines()[2:]
    assert line.startswith("| a\\|b |") and rules == ["", CURVE_RULE]


def test_the_terminal_table_shows_the_same_cells() -> None:
    console = Console(file=io.StringIO(), width=220)
    judged = [*judgements(), judge_on_curve([0.7], [], spread=None, case="[bold]x[/bold]")]
    console.print(verdict_table(judged))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for line in verdict_markdown(judged).splitlines()[2 : 2 + len(judged)]:
        for cell in line.strip("| ").split(" | "):
            assert cell.strip() in shown


def test_the_docs_state_the_rules_as_they_are_printed() -> None:
    page = " ".join((ROOT / "docs" / "reproduction.md").read_text().split())
    for rule in (BAND_RULE, CURVE_RULE, BASELINE_RULE):
        assert rule in page
