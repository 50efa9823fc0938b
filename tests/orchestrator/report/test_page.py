"""The page as a text: what is in it, how large it is, how long it takes."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.analysis.leaderboard import read_leaderboard
from orchestrator.cli import app
from orchestrator.cli.look.report import leave_report
from orchestrator.commands.confirm import confirmation_sweep
from orchestrator.config.blocks import BoundConfig, StorageConfig
from orchestrator.config.loading import load_sweep
from orchestrator.output import Output
from orchestrator.report import make_report, write_report
from orchestrator.results import ResultWriter, read_trials
from orchestrator.storage import SweepStore
from tests.support.rows import report, trial
from tests.support.synthetic import write_cases, write_pictures, write_search
from trainables.storage.object_store import ObjectStore


def text_of(page: str) -> str:
    """The page without its scripts and tags."""
    body = page[page.index("<body>") : page.index("<script>")]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def headings(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_a_search_is_told_in_the_order_in_which_one_asks(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=24)
    page = make_report([SweepStore(store, "search-a")])
    assert headings(page) == [
        "Leaderboard",
        "Map",
        "Learning curves",
        "What the settings do",
        "What ranks trials without data",
        "Pseudo images",
        "Where the time went",
        "Provenance",
    ]
    text = text_of(page)
    assert "It is not confirmed" in text
    assert "zskt confirm search-a --top 3 --seeds 5" in text
    assert "24 of 24" in text


def test_a_confirmed_search_answers_with_interval_and_confidence(store: ObjectStore) -> None:
    write_search(store, "search-a")
    sweep_id, confirming = confirmation_sweep(read_leaderboard(SweepStore(store, "search-a")), top=1, seeds=4)
    best = next(case for case in confirming.cases if case != "baseline")
    write_cases(store, sweep_id, confirming, {"baseline": 0.80, best: 0.90})
    text = text_of(make_report([SweepStore(store, "search-a")]))
    found = re.search(
        r"The best setting is (t\d+) \(.*?\): (\d+\.\d\d) points better than the published settings, interval "
        r"(\+\d+\.\d\d) to (\+\d+\.\d\d) \(95 %\), over 4 new seeds; it is better with (\d+)% confidence",
        text,
    )
    assert found
    assert found[1] == best
    assert float(found[3]) < float(found[2]) < float(found[4])
    assert "Confirmed with new seeds" in text
    assert "New seeds" in text


@pytest.mark.parametrize("selects_on_test", [False, True])
def test_whether_test_accuracy_is_an_audit_is_said(selects_on_test: bool, store: ObjectStore) -> None:
    more: dict[str, Any] = {"allow_test_selection": True, "constraints": {"test_accuracy": BoundConfig(at_least=0.1)}}
    write_search(store, "search-a", **(more if selects_on_test else {}))
    text = text_of(make_report([SweepStore(store, "search-a")]))
    assert ("selected on test data" in text) == selects_on_test
    assert ("test (audit)" in text) != selects_on_test


def test_a_search_without_data_is_held_against_labels_where_there_are_some(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=24, objective="data_free_score")
    page = make_report([SweepStore(store, "search-a")])
    assert "What ranks trials without data" in headings(page)
    text = text_of(page)
    assert re.search(r"Best so far is t\d+ \(.*\), with \d\d\.\d\d% data free score", text)
    found = re.search(
        r"Labels, which took no part in the selection, rank it (\d+) of 8 trials that used their whole budget, "
        r"(\d\.\d\d) points of validation accuracy behind the best\. Over these trials the rank correlation of "
        r"score and labels is (\d\.\d\d), 95 % interval (-?\d\.\d\d) to (\d\.\d\d)",
        text,
    )
    assert found, text
    assert (found[1] == "1") == (found[2] == "0.00")
    assert float(found[4]) <= float(found[3]) <= float(found[5])
    assert float(found[3]) > 0.8
    write_search(store, "search-b", trials=24)
    assert "which took no part in the selection" not in make_report([SweepStore(store, "search-b")])


def test_cases_are_shown_with_their_verdict(store: ObjectStore) -> None:
    sweep = load_sweep("digits-table-1")
    write_cases(store, "cases-a", sweep, dict.fromkeys(sweep.cases, 0.9))
    page = make_report([SweepStore(store, "cases-a")])
    assert {"Results", "Learning curves", "Against published numbers"} <= set(headings(page))
    assert "Map" not in headings(page)
    assert re.search(r"Of \d+ published results?:", text_of(page))


def test_pictures_and_transition_curves_are_shown_of_trials_that_have_some(store: ObjectStore) -> None:
    write_search(store, "search-a")
    assert "Transition curves" not in headings(make_report([SweepStore(store, "search-a")]))
    best = read_leaderboard(SweepStore(store, "search-a")).best
    assert best
    write_pictures(store, "search-a", best.trial_id)
    page = make_report([SweepStore(store, "search-a")])
    assert {"Pseudo images", "Transition curves"} <= set(headings(page))
    assert page.count('<img src="data:image/png;base64,') == 2
    text = text_of(page)
    assert f"Images of the generator, best ({best.trial_id})" in text
    assert "after 50% after 100%" in text
    assert "Classes that both networks see in the same 512 images, after 100% of the budget." in text


def test_the_page_names_the_chips_that_computed(store: ObjectStore) -> None:
    write_search(store, "search-a")
    assert "here: Abacus 9, 1 thread" in text_of(make_report([SweepStore(store, "search-a")]))


def test_several_sweeps_are_compared_and_each_has_its_part(store: ObjectStore) -> None:
    write_search(store, "search-a")
    write_search(store, "search-b", seed=1)
    page = make_report([SweepStore(store, "search-a"), SweepStore(store, "search-b"), SweepStore(store, "search-a")])
    assert re.findall(r"<h1>(.*?)</h1>", page) == ["Comparison", "search-a", "search-b"]
    assert "How do these sweeps compare: search-a, search-b?" in page


def test_several_objectives_have_a_front(store: ObjectStore) -> None:
    write_search(store, "search-a", further_objectives={"training_flops": "min"})
    page = make_report([SweepStore(store, "search-a")])
    assert headings(page)[:3] == ["Leaderboard", "Map", "Pareto front"]
    assert "A star marks trials on the Pareto front" in page
    board = read_leaderboard(SweepStore(store, "search-a"))
    starred = re.findall(r"<td[^>]*>(t\d+) \*</td>", page)
    assert starred == [row.trial_id for row in board.rows if row in board.front]
    assert 0 < len(starred) < len(board.candidates)


def test_failures_and_warnings_are_told(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=3)
    writer = ResultWriter(SweepStore(store, "search-a"))
    lost = {"recoveries": 2, "recovery_causes_json": '{"its machine was lost (shut down)": 2}'}
    writer.write_trial(trial("t0007", state="failed", error="RuntimeError: boom <&>", objective=None, **lost))
    writer.write_trial(trial("t0008", recoveries=None))  # a row that was lost itself
    writer.write_report(report("t0007", 10, image_diversity=0.0))
    page = make_report([SweepStore(store, "search-a")])
    assert "Failures and warnings" in headings(page)
    assert "RuntimeError: boom &lt;&amp;&gt;" in page
    assert "its machine was lost (shut down) (2 times)" in page
    assert "the generator has collapsed" in text_of(page)


def test_a_sweep_that_has_just_begun_has_a_page(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=0, ended=False)
    page = make_report([SweepStore(store, "search-a")])
    assert headings(page) == ["Provenance"]
    assert "running, or stopped without a final record" in page


def test_nothing_in_the_page_can_end_its_script_early(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=3)
    ResultWriter(SweepStore(store, "search-a")).write_trial(
        trial("t0008", state="failed", error="</script><b>x", objective=None)
    )
    page = make_report([SweepStore(store, "search-a")])
    assert page.count("</script>") == 3
    assert "<b>x" not in page


def test_the_page_asks_for_nothing_from_a_network(store: ObjectStore) -> None:
    write_search(store, "search-a")
    page = make_report([SweepStore(store, "search-a")])
    assert not re.findall(r"<link[^>]+href=\"(?!data:)|<script[^>]*\ssrc=|<img[^>]+src=\"(?!data:)", page)


@pytest.mark.slow
def test_a_thousand_trials_take_less_than_20_seconds_and_10_megabytes(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=1000)
    start = time.monotonic()
    page = make_report([SweepStore(store, "search-a")])
    assert time.monotonic() - start < 20
    assert len(page.encode()) < 10e6


def test_the_command_writes_to_the_storage_or_a_file(store: ObjectStore, tmp_path: Path) -> None:
    write_search(store, "search-a", trials=3)
    runner = CliRunner()
    result = runner.invoke(app, ["report", "search-a", "--storage", store.root])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == f"Report: {store.root}/reports/search-a/index.html"
    assert store.read("reports/search-a/index.html").startswith(b"<!DOCTYPE html>")
    runner.invoke(app, ["report", "search-a", "--storage", store.root, "--output", str(tmp_path / "a.html")])
    assert "search-a" in (tmp_path / "a.html").read_text()
    missing = runner.invoke(app, ["report", "search-b", "--storage", store.root])
    assert missing.exit_code == 1
    assert "no sweep search-b in this storage; there: search-a" in " ".join(missing.output.split())


def test_a_report_that_cannot_be_written_is_a_warning(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    leave_report(Output(Console(width=200)), StorageConfig(uri=store.root), "search-a")
    assert capsys.readouterr().out.startswith("warning: no report was written: no sweep search-a in this storage")
    write_search(store, "search-a", trials=3)
    assert write_report(SweepStore(store, "search-a")) == "reports/search-a/index.html"
    leave_report(Output(Console(width=200)), StorageConfig(uri=store.root), "search-a")
    assert "Report: " in capsys.readouterr().out


def test_money_is_shown_beside_computing_time_where_it_is_known(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=3)
    assert "GPU hours" not in text_of(make_report([SweepStore(store, "search-a")]))
    for row, cost in zip(read_trials(store, "search-a").to_pylist(), (1.25, 2.5, None), strict=True):
        row |= {"gpu_seconds": 3600.0, "cost_usd": cost, "ended_at": row["ended_at"] + timedelta(days=1)}
        del row["sweep_id"]
        ResultWriter(SweepStore(store, "search-a")).write_trial(row)
    text = text_of(make_report([SweepStore(store, "search-a")]))
    assert "GPU hours cost" in text
    assert re.search(r"stopped early 2 .* 2 2\.50 USD \(1 of 2 trials\)", text)
    assert re.search(r"completed 1 .* 1 1\.25 USD", text)
    assert "3 GPU hours" in text


def test_a_figure_that_fails_does_not_fail_the_sweep(
    store: ObjectStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise ValueError("no such axis")

    monkeypatch.setattr("orchestrator.report.write_report", broken)
    leave_report(Output(Console(width=300)), StorageConfig(uri="s3://bucket/my runs"), "search-a")
    printed = capsys.readouterr().out
    assert printed.startswith("warning: no report was written: no such axis. Again, with the cause: ")
    assert "zskt report search-a --storage 's3://bucket/my runs' --verbose" in printed


def test_where_a_page_cannot_go_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(output: Path) -> str:
        result = CliRunner().invoke(app, ["report", "search-a", "--output", str(output)])
        assert result.exit_code == 2
        return result.output

    assert "there is no folder" in refused(tmp_path / "nowhere" / "page.html")
    assert "this is a folder; name a file in it" in refused(tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "cannot be written; name another file" in refused(tmp_path / "page.html")
