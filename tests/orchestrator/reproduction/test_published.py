from __future__ import annotations

import statistics

import pytest

from orchestrator.reproduction import (
    PublishedRow,
    PublishedRun,
    learning_curves,
    published_rows,
    published_sources,
    published_targets,
    published_transition_curves,
)
from orchestrator.reproduction.published import AcceptanceRange, TransitionMethod
from tests.support.published_rows import official, paper, reimplementation, row

PAIRS = (
    "wrn-16-2-to-wrn-16-1",
    "wrn-40-1-to-wrn-16-1",
    "wrn-40-2-to-wrn-16-1",
    "wrn-40-1-to-wrn-16-2",
    "wrn-40-2-to-wrn-16-2",
    "wrn-40-2-to-wrn-40-1",
)
IMAGES = (10, 25, 50, 75, 100)
FIGURE_2 = [*(f"{m}-{n}" for m in ("no-teacher", "kd-at", "fine-tuned") for n in IMAGES), "zero-shot"]
CASES = {
    "paper-table-1": PAIRS,
    "paper-scratch": ("wrn-16-1", "wrn-16-2", "wrn-40-1", "wrn-40-2", "svhn-wrn-40-2", "svhn-wrn-16-1"),
    "paper-kd-at": (*PAIRS, "all-wrn-40-2-to-wrn-16-1"),
    "paper-svhn": ("zero-shot", "kd-at-all"),
    "paper-attention-ablation": (*(f"{pair}-without" for pair in PAIRS), "average-drop"),
    "paper-figure-2": FIGURE_2,
    "paper-figure-2-svhn": FIGURE_2,
    "paper-figure-4": ("zero-shot", "kd-at"),
    "paper-figure-4-svhn": ("zero-shot", "kd-at"),
}


def published(target: str, case: str) -> PublishedRow:
    (found,) = [row for row in published_rows(target) if row.case == case]
    return found


def test_targets_and_cases_are_those_of_the_presets() -> None:
    assert set(published_targets()) == {*CASES, "digits-table-1"}
    for target, cases in CASES.items():
        assert sorted(row.case for row in published_rows(target)) == sorted(cases)


def test_an_unknown_target_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="paper-table-2: nothing published; allowed: paper-table-1, "):
        published_rows("paper-table-2")


@pytest.mark.parametrize(
    ("case", "zero_shot", "kd_at"),
    [
        (PAIRS[0], (82.44, 0.21), (84.54, 0.21)),
        (PAIRS[1], (79.93, 1.11), (81.71, 0.25)),
        (PAIRS[2], (83.69, 0.58), (81.25, 0.67)),
        (PAIRS[3], (86.60, 0.56), (85.74, 0.47)),
        (PAIRS[4], (89.71, 0.10), (86.39, 0.33)),
        (PAIRS[5], (86.60, 1.79), (87.35, 0.12)),
    ],
)
def test_table_1_is_the_papers(case: str, zero_shot: tuple[float, float], kd_at: tuple[float, float]) -> None:
    for target, (mean, std) in (("paper-table-1", zero_shot), ("paper-kd-at", kd_at)):
        value = published(target, case).paper
        assert value and value.std and value.n == 3
        assert (100 * value.mean, 100 * value.std) == pytest.approx((mean, std))


@pytest.mark.parametrize(
    ("target", "case", "low", "high"),
    [
        ("paper-table-1", PAIRS[0], 0.8223, 0.8354),
        ("paper-table-1", PAIRS[2], 0.8311, 0.8429),
        ("paper-scratch", "wrn-16-1", 0.910, 0.918),
        ("paper-scratch", "wrn-40-2", 0.947, 0.952),
        ("paper-scratch", "svhn-wrn-40-2", 0.961, 0.965),
        ("paper-svhn", "zero-shot", 0.9379, 0.9433),
        ("paper-figure-4", "zero-shot", 0.18, 0.246),
        ("paper-figure-4", "kd-at", 0.68, 0.7182),
        ("paper-figure-4-svhn", "zero-shot", 0.0941, 0.11),
    ],
)
def test_bands_are_what_the_numbers_span(target: str, case: str, low: float, high: float) -> None:
    assert published(target, case).band == pytest.approx((low, high), abs=1e-6)


def test_the_band_spans_the_paper_and_official_reruns() -> None:
    # The re-run's population variance is (4 + 0 + 4) / 3 points^2, its std 1.63 points.
    found = row(paper(0.80, 0.01, 3), official(0.83, 0.85, 0.87), official(0.78), reimplementation(0.5)).band
    assert found == pytest.approx((0.78, 0.85 + 0.0163299), abs=1e-6)


def test_reimplementations_stand_in_only_where_nothing_else_shows_a_spread() -> None:
    stands_in = row(paper(0.80), reimplementation(0.75))
    assert stands_in.band == (0.75, 0.80) and stands_in.band_rests_on_reimplementations
    acceptance = AcceptanceRange(low=0.79, high=0.81, source="others")
    for other in (
        row(paper(0.80, 0.01, 3), reimplementation(0.75)),
        row(paper(0.80), official(0.81), reimplementation(0.75)),
        row(paper(0.80), reimplementation(0.75), acceptance=acceptance),
    ):
        assert other.band and other.band[0] >= 0.79 and not other.band_rests_on_reimplementations
        assert "FE" not in other.band_sources


def test_a_number_with_a_caveat_is_never_judged_by() -> None:
    for rerun in (official(0.5, caveat="broken"), reimplementation(0.5, caveat="broken")):
        assert row(paper(0.80), rerun).band is None
        assert row(None, rerun).reference is None


def test_a_single_number_is_no_band() -> None:
    assert row(paper(0.80)).band is None
    assert row(paper(0.80), official(0.80)).band is None
    assert row(None).band is None


def test_the_reference_is_the_papers_number_or_the_largest_official_rerun() -> None:
    reruns = official(0.9), official(0.81, 0.83), reimplementation(0.1, 0.1, 0.1)
    assert row(paper(0.80), *reruns).reference == paper(0.80)
    reference = row(None, *reruns).reference
    assert reference and reference.n == 2 and reference.mean == pytest.approx(0.82)
    # Re-implementations come last, however many runs they have.
    reference = row(None, reruns[-1]).reference
    assert reference and reference.n == 3 and reference.mean == pytest.approx(0.1)


@pytest.mark.parametrize(
    "form",
    [{}, {"values": [0.1], "mean": 0.1}, {"values": [0.1], "std": 0.1}, {"values": [0.1], "n": 1}, {"values": [82.9]}],
)
def test_a_rerun_is_either_values_or_their_summary_in_shares(form: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="re-run of SG: allowed are either|less than or equal to 1"):
        PublishedRun.model_validate({"who": "SG", "code": "official", "source": "s", **form})


def test_one_run_has_no_spread_and_ranges_are_in_order() -> None:
    with pytest.raises(ValueError, match="one run has no spread"):
        paper(0.8, 0.01, 1)
    with pytest.raises(ValueError, match="the lower end must come first"):
        AcceptanceRange(low=0.9, high=0.8, source="s")


def test_sources_are_named_and_all_are_used() -> None:
    used = {rerun.who for target in published_targets() for row in published_rows(target) for rerun in row.reruns}
    assert used | {"paper"} == set(published_sources())


@pytest.mark.parametrize(
    ("pseudo_batches", "with_attention", "without"),
    [
        (800, (41.67, 5.41), (19.24, 3.81)),
        (1_600, (55.84, 3.01), (32.25, 5.98)),
        (4_000, (69.27, 2.26), (56.35, 2.98)),
        (8_000, (73.98, 0.60), (67.66, 1.74)),
        (16_000, (78.97, 2.23), (75.42, 0.63)),
        (80_000, (82.93, 0.52), (81.26, 0.31)),
    ],
)
def test_curves_of_three_seeds(
    pseudo_batches: int, with_attention: tuple[float, float], without: tuple[float, float]
) -> None:
    for weight, expected in ((250, with_attention), (0, without)):
        values = learning_curves("cifar10", "wrn-16-2", "wrn-16-1", weight, 80_000).at(pseudo_batches)
        assert values is not None
        found = 100 * statistics.fmean(values), 100 * statistics.pstdev(values)
        assert found == pytest.approx(expected, abs=0.0051)


@pytest.mark.parametrize(
    ("dataset", "horizon", "points"),
    [
        ("cifar10", 80_000, {800: 33.04, 8_000: 72.93, 40_000: 82.23, 80_000: 84.26}),
        ("svhn", 50_000, {500: 67.76, 2_500: 91.31, 5_000: 92.80, 50_000: 94.37}),
    ],
)
def test_the_authors_own_curves(dataset: str, horizon: int, points: dict[int, float]) -> None:
    curves = learning_curves(dataset, "wrn-40-2", "wrn-16-1", 250, horizon)
    assert curves.seeds == (0,) and len(curves.pseudo_batches) == 100
    for pseudo_batches, percent in points.items():
        (accuracy,) = curves.at(pseudo_batches) or ()
        assert 100 * accuracy == pytest.approx(percent, abs=0.0051)


def test_accuracies_are_whole_numbers_of_test_images() -> None:
    for dataset, horizon, images in (("cifar10", 80_000, 10_000), ("svhn", 50_000, 26_032)):
        for run in learning_curves(dataset, "wrn-40-2", "wrn-16-1", 250, horizon).values["test_accuracy"]:
            assert all(abs(value * images - round(value * images)) < 0.02 for value in run)


def test_losses_and_confidences_are_on_the_curves_too() -> None:
    curves = learning_curves("cifar10", "wrn-16-2", "wrn-16-1", 250, 80_000)
    losses, confidences = curves.at(80_000, "generator_loss"), curves.at(80_000, "teacher_confidence")
    assert losses and -statistics.fmean(losses) == pytest.approx(0.0750, abs=5e-5)
    assert confidences and all(0.6 < confidence < 0.8 for confidence in confidences)


def test_between_evaluations_curves_are_interpolated_and_beyond_them_there_is_nothing() -> None:
    curves = learning_curves("cifar10", "wrn-16-2", "wrn-16-1", 250, 80_000)
    first, between, second = curves.at(800), curves.at(1_000), curves.at(1_600)
    assert first and between and second
    assert between == pytest.approx([0.75 * a + 0.25 * b for a, b in zip(first, second, strict=True)])
    assert curves.at(799) is None and curves.at(80_001) is None


def test_no_curve_is_passed_off_as_that_of_another_setting() -> None:
    for setting in (("svhn", 250, 80_000), ("cifar10", 100, 80_000), ("cifar10", 250, 8_000)):
        dataset, weight, horizon = setting
        curves = learning_curves(dataset, "wrn-16-2", "wrn-16-1", weight, horizon)
        assert curves.seeds == () and curves.at(800) is None


def test_the_ends_of_the_curves_are_the_published_numbers() -> None:
    ends = {
        weight: learning_curves("cifar10", "wrn-16-2", "wrn-16-1", weight, 80_000).at(80_000) for weight in (250, 0)
    }
    (rerun,) = [rerun for rerun in published("paper-table-1", PAIRS[0]).reruns if rerun.who == "SG"]
    (without,) = published("paper-attention-ablation", f"{PAIRS[0]}-without").reruns
    (drop,) = published("paper-attention-ablation", "average-drop").reruns
    assert (ends[250], ends[0]) == (rerun.values, without.values)
    assert drop.values == pytest.approx([a - b for a, b in zip(rerun.values, without.values, strict=True)])


@pytest.mark.parametrize(
    ("dataset", "method", "gap", "third"),
    [
        ("svhn", "zero-shot", 0.0911, (0.892, 0.757)),
        ("svhn", "kd-at", 0.6347, (0.283, 0.147)),
        ("cifar10", "zero-shot", 0.2156, (0.926, 0.644)),
        ("cifar10", "kd-at", 0.7173, (0.576, 0.212)),
    ],
)
def test_transition_curves_agree_with_the_transition_errors(
    dataset: str, method: TransitionMethod, gap: float, third: tuple[float, float]
) -> None:
    curves = published_transition_curves(dataset, method)
    assert len(curves.student) == len(curves.student_se) == len(curves.teacher) == len(curves.teacher_se) == 200
    assert (curves.student[3], curves.teacher[3]) == pytest.approx(third, abs=6e-4)
    assert curves.mean_gap() == pytest.approx(gap, abs=1e-3)
    error = published("paper-figure-4" if dataset == "cifar10" else "paper-figure-4-svhn", method).paper
    # The gap of the averages cannot exceed the average of the gaps.
    assert error and curves.mean_gap() < error.mean < curves.mean_gap() + 0.004


def test_an_unknown_transition_curve_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match="dataset=mnist, method=kd-at: no published curve; allowed: cifar10 zero-shot, "
    ):
        published_transition_curves("mnist", "kd-at")
