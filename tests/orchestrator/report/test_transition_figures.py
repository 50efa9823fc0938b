from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from orchestrator.report.figures.transitions import figure_html, transition_figure
from trainables.evaluation import MeanCurves


def means(steps: int = 40, *, error: float = 0.01) -> MeanCurves:
    rising = torch.linspace(0, 0.8, steps, dtype=torch.float64)
    spread = torch.full_like(rising, error)
    return MeanCurves(attacked=rising, attacked_error=spread, other=rising / 2, other_error=spread, images=5)


def lines(figure: Any) -> list[Any]:
    return [trace for trace in figure.data if trace.fill is None]


def bands(figure: Any) -> list[Any]:
    return [trace for trace in figure.data if trace.fill is not None]


def test_two_lines_of_one_colour_for_each_label() -> None:
    figure = transition_figure({"zero-shot": means(), "KD+AT": means()}, title="Curves", names=("student", "teacher"))
    drawn = [(line.name, line.line.dash) for line in lines(figure)]
    assert drawn == [
        ("zero-shot, student", "solid"),
        ("zero-shot, teacher", "dash"),
        ("KD+AT, student", "solid"),
        ("KD+AT, teacher", "dash"),
    ]
    colours = [line.line.color for line in lines(figure)]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert figure.layout.title.text == "Curves"
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == (
        "steps",
        "probability of the target class",
    )


def test_lines_are_the_means_up_to_the_last_step() -> None:
    figure = transition_figure({"a": means()}, title="")
    attacked, other = lines(figure)
    assert list(attacked.x) == list(range(32))
    assert list(attacked.y) == means().attacked[:32].tolist()
    assert list(other.y) == means().other[:32].tolist()
    assert len(lines(transition_figure({"a": means()}, title="", last_step=5))[0].x) == 6
    assert len(lines(transition_figure({"a": means(3)}, title=""))[0].x) == 3


def test_bands_are_two_standard_errors_on_each_side() -> None:
    figure = transition_figure({"a": means(3, error=0.05)}, title="")
    band = bands(figure)[0]
    assert list(band.x) == [0, 1, 2, 2, 1, 0]
    assert list(band.y) == pytest.approx([0.1, 0.5, 0.9, 0.7, 0.3, -0.1])
    assert band.fillcolor == "rgba(0, 114, 178, 0.15)"
    assert not band.showlegend
    assert band.legendgroup == lines(figure)[0].legendgroup


def test_hovering_tells_name_mean_and_band() -> None:
    line = lines(transition_figure({"a": means(3, error=0.05)}, title=""))[1]
    assert line.hovertemplate == "a, other: %{y:.3f} ± %{customdata:.3f}<extra></extra>"
    assert list(line.customdata) == pytest.approx([0.1, 0.1, 0.1])


def test_curves_of_a_single_image_have_no_band() -> None:
    figure = transition_figure({"a": means(error=float("nan"))}, title="")
    assert len(lines(figure)) == 2
    assert not bands(figure)
    assert lines(figure)[0].hovertemplate == "a, attacked: %{y:.3f}<extra></extra>"


def test_the_page_needs_nothing_else() -> None:
    figure = transition_figure({"a": means()}, title="Curves of a study")
    page = figure_html(figure)
    assert "Curves of a study" in page
    assert not re.findall(r"<link|<script[^>]*\ssrc=", page)
    assert page == figure_html(transition_figure({"a": means()}, title="Curves of a study"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"curves": {}}, "curves is empty; allowed: at least one"),
        ({"last_step": 0}, "last_step=0; allowed: at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transition_figure(**({"curves": {"a": means()}, "title": ""} | arguments))
