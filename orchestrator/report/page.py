"""From sections to one HTML file: everything inside, nothing asked of a network."""

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
    """A cell whose text is rounded to a unit that fits: it is sorted by its number, which is also what CSV gets."""

    __slots__ = ("unit", "value")
    value: float
    unit: str

    def __new__(cls, text: str, value: float, unit: str) -> Self:
        cell = super().__new__(cls, text)
        cell.value, cell.unit = value, unit
        return cell


def time_cell(seconds: float | None) -> str:
    """Return a duration as a table shows it; empty if it is not known."""
    return "" if seconds is None else Measured(duration(seconds), round(seconds, 1), "s")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that can be sorted, filtered by its states and saved as CSV."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: frozenset[int] = frozenset({0})
    """Columns of words; the others are set right."""

    filter_column: int | None = None
    """Column whose values can be picked above the table; none: no filter."""

    @property
    def filled(self) -> Table:
        """The same without columns in which no row has anything."""
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
    """One figure, or several of which one is shown at a time."""

    title: str
    tabs: Mapping[str, go.Figure]
    """By the text of its tab, which the figures of a section share; empty: shown whatever tab is chosen."""

    caption: str = ""
    """What is to be seen, for someone who has not seen such a figure before."""

    small: bool = False
    """Whether it may stand beside its neighbours."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A bitmap with a line below it."""

    png: bytes
    caption: str

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures in a row."""

    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph; ``command`` is set below it as one to be typed."""

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
        """Labels of all its figures' tabs: one choice switches every figure that has it."""
        figures = (block for block in self.blocks if isinstance(block, Figure))
        return [label for label in dict.fromkeys(label for figure in figures for label in figure.tabs) if label]


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A sweep's part of the page."""

    title: str
    question: str
    answer: str
    facts: Mapping[str, str]
    """Numbers that everyone asks for first, by what they are."""

    sections: Sequence[Section]
    advice: Text | None = None


@dataclass(kw_only=True)
class _Numbered:
    """Hands out the ids by which the page's script finds its figures, and keeps what is drawn there."""

    drawn: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, figure: go.Figure) -> str:
        # Through plotly's own encoder, which knows its objects; the template would be repeated in each of them.
        spec = json.loads(figure.to_json())
        spec["layout"].pop("template", None)
        self.drawn.append(spec)
        return f"figure-{len(self.drawn) - 1}"


def render(title: str, chapters: Sequence[Chapter], *, made: str) -> str:
    """Return the page as HTML.

    Args:
        title: Of the window.
        chapters: One for each sweep, and before several a comparison.
        made: When and by what, for the foot.
    """
    # The folder is found by the package, so an installed copy works as a checkout does.
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
    # Put in last: plotly's five megabytes need no escaping and no second look.
    scripts = (get_plotlyjs(), f"const FIGURES = {_safe_json(numbered.drawn)};", _asset("report.js"))
    return body.replace("<!-- scripts -->", "\n".join(f"<script>{script}</script>" for script in scripts))


def _asset(name: str) -> str:
    return (resources.files("orchestrator.report") / name).read_text(encoding="utf-8")


def _safe_json(value: object) -> str:
    """JSON that cannot end the script it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("</", "<\\/").replace("<!--", "<\\!--")
