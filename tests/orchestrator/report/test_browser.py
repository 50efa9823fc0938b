"""The page in a real browser: Debian's chromium, or what CHROMIUM names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright

from orchestrator.report import make_report
from orchestrator.storage import SweepStore
from tests.support.missing import BROWSER, NEEDS_A_BROWSER
from tests.support.synthetic import write_pictures, write_search
from trainables.storage.object_store import ObjectStore

pytestmark = [NEEDS_A_BROWSER, pytest.mark.timeout(120)]


@pytest.fixture
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def page_file(store: ObjectStore, tmp_path: Path) -> Path:
    write_search(store, "search-a", trials=24)
    write_pictures(store, "search-a", "t0000")
    write_search(store, "search-b", seed=1)
    file = tmp_path / "report.html"
    file.write_text(make_report([SweepStore(store, "search-a"), SweepStore(store, "search-b")]), encoding="utf-8")
    return file


def listened_to(page: Any) -> tuple[list[str], list[str]]:
    """Errors of the page and what it asks for, as they come."""
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    return errors, requests


def test_the_page_works_without_a_network(browser: Any, page_file: Path) -> None:
    """One page for all: a browser takes seconds to start, and the page's scripts run once for each look."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    errors, requests = listened_to(page)
    page.goto(page_file.as_uri())
    page.wait_for_selector("html[data-drawn=yes]")

    # Several sweeps: the comparison is in front, and a sweep's part is drawn when it is chosen.
    assert page.locator("main:visible h1").inner_text() == "Comparison"
    page.get_by_role("tab", name="search-a", exact=True).click()
    assert page.locator("main:visible h1").inner_text() == "search-a"
    plots = page.locator("main:visible .plot:visible")
    assert plots.count() > 10
    assert all("js-plotly-plot" in str(plot.get_attribute("class")) for plot in plots.all())

    # A filter of the leaderboard.
    table = page.locator("main:visible .table[data-name=Trials]")
    assert table.locator("tbody tr:visible").count() == 24
    table.get_by_role("button", name="completed (8)").click()
    assert table.locator("tbody tr:visible").count() == 8
    assert set(table.locator("tbody tr:visible td.words").all_inner_texts()[1::2]) == {"completed"}

    # A tab: the same map at another share of the budget.
    section = page.locator("main:visible section", has=page.get_by_role("heading", name="Map", exact=True))
    whole, early = (section.get_by_role("tab", name=name) for name in ("100%", "29%"))
    assert (whole.get_attribute("aria-selected"), early.get_attribute("aria-selected")) == ("true", "false")
    points = "plot => plot.data.find(trace => trace.name === 'trial').x.length"
    assert section.locator(".plot:visible").evaluate(points) == 8
    early.click()
    assert section.locator(".plot:visible").evaluate(points) == 24

    # CSV of what is shown, and a saved figure.
    with page.expect_download() as download:
        table.get_by_role("button", name="save CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("#,trial,generator steps,student steps,temperature,validation,test (audit),state")
    assert len(lines) == 9
    assert lines[0].endswith(",state,student updates,computing (s)")
    # Times of several units are sorted as times.
    table.get_by_role("button", name="all (24)").click()
    table.locator("th", has_text="computing").click()
    seconds = [
        float(value) for value in table.locator("td[data-unit]").evaluate_all("x => x.map(td => td.dataset.value)")
    ]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) > 1
    with page.expect_download() as download:
        section.get_by_role("button", name="SVG").click()
    assert Path(download.value.path()).read_text().startswith("<svg")

    # On paper every chapter has its figures, whichever was open; afterwards the page is as before.
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".plot:not([hidden]):not(.js-plotly-plot)").count() == 0
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("main:visible h1").all_inner_texts() == ["search-a"]

    # Desk and phone, light and dark: nothing is wider than the screen, and figures are written in the page's ink.
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        # Figures follow a resize a little later.
        page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
        for theme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 27)")):
            page.emulate_media(color_scheme=theme)
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
            ink = page.evaluate("getComputedStyle(document.body).color")
            tick = page.locator("main:visible .plot:visible .xtick text").first
            expect(tick).to_have_css("fill", ink)  # once it is drawn anew after the resize

    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
