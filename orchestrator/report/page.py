"""Rendering of the report's sections into one HTML file that contains everything and needs no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Self

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from plotly.offline import get_plotlyjs

from orchestrator.formatting import duration


class Measured(str):
    """A table cell with a rounded text in a suitable unit; the exact number serves for sorting and for CSV."""

    __slots__ = ("unit", "value")
    value: float
    unit: str

    def __new__(cls, text: str, value: float, unit: str) -> Self:
        cell = super().__new__(cls, text)
        cell.value, cell.unit = value, unit
        return cell


def time_cell(seconds: float | None) -> str:
    """Return a table cell with a duration; empty if the duration is None."""
    return "" if seconds is None else Measured(duration(seconds), round(seconds, 1), "s")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that can be sorted, filtered by its states and saved as CSV."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: frozenset[int] = frozenset({0})
    """Indices of columns with words, aligned left; the other columns are aligned right."""

    filter_column: int | None = None
    """Index of the column by whose values the table can be filtered. None means no filter."""

    @property
    def filled(self) -> Table:
        """The table without columns whose cells are all empty."""
        kept = [number for number in range(len(self.headings)) if any(row[number] for row in self.rows)]
        return Table(
            title=self.title,
            headings=[self.headings[number] for number in kept],
            rows=[[row[number] for number in kept] for row in self.rows],
            text_columns=frozenset(kept.index(number) for number in self.text_columns if number in kept),
            filter_column=kept.index(self.filter_column) if self.filter_column in kept else None,
        )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A block with one figure, or with several in tabs."""

    title: str
    tabs: Mapping[str, go.Figure]
    """Figures by the label of their tab. The figures of a section share their tabs; a figure with an empty label is shown
    in every tab."""

    caption: str = ""
    """Explanation of the figure, for a reader who has never seen one of its kind."""

    small: bool = False
    """Whether the figure may stand beside other small figures."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A bitmap with a line below it."""

    png: bytes
    caption: str

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A block with pictures in a row."""

    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A block with a paragraph; ``command`` is shown below it as a command to type."""

    text: str
    command: str = ""


Block = Table | Figure | Pictures | Text


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with a heading."""

    title: str
    blocks: Sequence[Block]
    lead: str = ""

    @property
    def tabs(self) -> list[str]:
        """Labels of the tabs of all figures in the section; choosing a label switches every figure that has this tab."""
        figures = (block for block in self.blocks if isinstance(block, Figure))
        return [label for label in dict.fromkeys(label for figure in figures for label in figure.tabs) if label]


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A sweep's part of the page."""

    title: str
    question: str
    answer: str
    facts: Mapping[str, str]
    """The most important numbers of the sweep as texts, by their label."""

    sections: Sequence[Section]
    advice: Text | None = None


@dataclass(kw_only=True)
class _Numbered:
    """Assigns the ids by which the page's script finds its figures, and collects plotly's specifications of them."""

    drawn: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, figure: go.Figure) -> str:
        # Plotly's own encoder knows its objects. The template is removed, since it would be repeated in every figure.
        spec = json.loads(figure.to_json())
        spec["layout"].pop("template", None)
        self.drawn.append(spec)
        return f"figure-{len(self.drawn) - 1}"


def render(title: str, chapters: Sequence[Chapter], *, made: str) -> str:
    """Return the page as HTML.

    Args:
        title: Title of the window.
        chapters: One chapter for each sweep; with several sweeps, their comparison comes first.
        made: Text of the page's foot: when the page was made and by which version.
    """
    # The template is found through the package, so that an installed copy works as well as a checkout.
    environment = Environment(
        loader=PackageLoader("orchestrator.report", "."),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbered = _Numbered()
    template = environment.get_template("template.html")
    body = template.render(
        title=title,
        chapters=chapters,
        made=made,
        numbered=numbered,
        kind=lambda block: type(block).__name__.lower(),
        style=_asset("report.css"),
    )
    # Inserted after rendering, since plotly's five megabytes need no escaping.
    scripts = (get_plotlyjs(), f"const FIGURES = {_safe_json(numbered.drawn)};", _asset("report.js"))
    return body.replace("<!-- scripts -->", "\n".join(f"<script>{script}</script>" for script in scripts))


def _asset(name: str) -> str:
    return (resources.files("orchestrator.report") / name).read_text(encoding="utf-8")


def _safe_json(value: object) -> str:
    """Return a value as JSON that cannot end the HTML script element that contains it."""
    return json.dumps(value, separators=(",", ":")).replace("</", "<\\/").replace("<!--", "<\\!--")
