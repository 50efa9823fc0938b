from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.results import ResultReader, ResultWriter, read_reports, read_sweeps, read_trials
from orchestrator.results.schema import CONFIG_PREFIX, REPORTS, SWEEPS, TRIALS
from orchestrator.storage import SweepStore
from tests.support.rows import NOW, report, trial
from trainables.config import config_classes
from trainables.config.roles import Column
from trainables.metrics import METRICS
from trainables.storage.filesystems import LocalFilesystem
from trainables.storage.object_store import ObjectStore


def test_columns_are_the_configs_fields_and_the_documented_metrics() -> None:
    configs = {name for name in TRIALS.names if name.startswith(CONFIG_PREFIX)}
    fields = {name: field for model in config_classes() for name, field in model.model_fields.items()}
    given = {name for name, field in fields.items() if Column.WHERE_GIVEN in field.metadata}
    assert configs == {CONFIG_PREFIX + name for name in fields.keys() - given}
    assert {fields[name].default for name in given} == {None}, "a row without the column says what it was"
    metrics = {metric.name for metric in METRICS}
    assert metrics <= set(TRIALS.names)
    assert set(REPORTS.names) - metrics == {
        *("trial_id", "reported_at", "hostname", "device", "device_name", "threads", "compiled"),
        *("node_type", "gpu_seconds", "cost_usd"),
    }
    assert TRIALS.field("config_student_steps").type == pa.int64()
    assert TRIALS.field("config_temperature").type == pa.float64()
    assert TRIALS.field("config_teacher_checkpoint").type == pa.string()
    assert TRIALS.field("config_learning_rate_horizon").type == pa.int64()
    for schema in (TRIALS, REPORTS, SWEEPS):
        assert schema.metadata == {b"schema_version": b"1"}
        assert all(field.metadata[b"description"] for field in schema)


floats = st.floats(allow_nan=True, allow_infinity=True)
states = st.sampled_from(["completed", "stopped_early", "diverged", "failed"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    rows=st.dictionaries(
        st.integers(0, 10**6),
        st.fixed_dictionaries(
            {"objective": floats, "error": st.text(), "state": states, "config_seed": st.integers(0, 2**63 - 1)}
        ),
        max_size=4,
    )
)
def test_what_is_written_is_read(rows: dict[int, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> None:
    store = ObjectStore(filesystem=LocalFilesystem(), root=str(tmp_path_factory.mktemp("store")))
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    written = {f"t{number:04d}": trial(f"t{number:04d}", **row) for number, row in rows.items()}
    for row in written.values():
        writer.write_trial(row)
    for compacted in (False, True):
        if compacted:
            writer.compact()
        read = {row["trial_id"]: row for row in read_trials(store, "sweep-a").to_pylist()}
        assert read.keys() == written.keys()
        for key, row in written.items():
            assert read[key].pop("sweep_id") == "sweep-a"
            assert read[key].pop("ended_at") == row["ended_at"]
            # By repr, since NaN is not equal to itself.
            assert repr(read[key]) == repr({name: row[name] for name in TRIALS.names if name != "ended_at"})


def test_a_trial_that_never_reported_is_a_row(store: ObjectStore) -> None:
    row = {
        key: value for key, value in trial(state="failed", error="boom").items() if key not in {m.name for m in METRICS}
    }
    ResultWriter(SweepStore(store, "sweep-a")).write_trial(row | {"objective": None})
    (read,) = read_trials(store).to_pylist()
    assert (read["state"], read["error"], read["objective"], read["pseudo_batches"]) == ("failed", "boom", None, None)


def test_an_unknown_column_is_an_error(store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="no such columns: accuracy"):
        ResultWriter(SweepStore(store, "sweep-a")).write_report(report(accuracy=1.0))
    assert store.keys("") == []


def test_rows_written_again_are_read_once_and_compaction_heals_a_crash(store: ObjectStore) -> None:
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    for done in (10, 20):
        writer.write_report(report(pseudo_batches=done))
    writer.write_report(report(pseudo_batches=20))
    writer.compact()
    assert [key.rsplit("/", 1)[1] for key in store.keys("results/v1/reports")] == ["part-0000.parquet"]
    # A crash after the part was written, before the small objects went; then a later, repeated report.
    writer.write_report(report(pseudo_batches=10))
    writer.write_report(report(pseudo_batches=30, reported_at=NOW + timedelta(seconds=1)))
    assert read_reports(store)["pseudo_batches"].to_pylist() == [10, 20, 30]
    writer.compact()
    assert [key.rsplit("/", 1)[1] for key in store.keys("results/v1/reports")] == ["part-0001.parquet"]
    assert read_reports(store)["pseudo_batches"].to_pylist() == [10, 20, 30]


def test_to_gather_rows_their_writer_fetches_only_what_others_wrote(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, writer = ResultWriter(SweepStore(store, "sweep-a")), ResultWriter(SweepStore(store, "sweep-a"))
    for done in (10, 20):
        earlier.write_report(report(pseudo_batches=done, threads=1))
    for done in (20, 30, 40):
        writer.write_report(report(pseudo_batches=done, threads=2))
    writer.write_report(report(pseudo_batches=30, threads=3))  # continued from a checkpoint before it
    fetched: list[str] = []
    read = store.read

    def noted(self: ObjectStore, key: str) -> bytes:
        fetched.append(key)
        return read(key)

    monkeypatch.setattr(ObjectStore, "read", noted)
    writer.compact()
    assert [key.rpartition("/")[2] for key in fetched] == ["t0000-0000000100.parquet"]
    gathered = read_reports(store)
    assert gathered["pseudo_batches"].to_pylist() == [10, 20, 30, 40]
    assert gathered["threads"].to_pylist() == [1, 2, 3, 2]


def test_rows_whose_writing_came_to_no_answer_are_looked_up(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    for done in (10, 20):
        writer.write_report(report(pseudo_batches=done, threads=1))
    write = store.write

    def and_lose_the_answer(self: ObjectStore, key: str, data: bytes) -> None:
        write(key, data)
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "write", and_lose_the_answer)
        with pytest.raises(ConnectionResetError):
            writer.write_report(report(pseudo_batches=20, threads=2))
    writer.compact()
    assert read_reports(store)["threads"].to_pylist() == [1, 2]


@pytest.mark.parametrize("first", [31, 32, 33])
def test_dozens_of_rows_are_gathered_with_the_last_word_on_each(store: ObjectStore, first: int) -> None:
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    written = [*range(first), 0, first - 1, *range(first, first + 3)]
    for place, done in enumerate(written):
        writer.write_report(report(pseudo_batches=done, threads=place))
    writer.compact()
    gathered = read_reports(store)
    assert gathered["pseudo_batches"].to_pylist() == list(range(first + 3))
    assert gathered["threads"].to_pylist() == list(dict(zip(written, range(len(written)), strict=True)).values())


def test_of_two_rows_of_a_trial_the_newer_counts(store: ObjectStore) -> None:
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    writer.write_trial(trial("t0000", state="failed"))
    writer.write_trial(trial("t0001"))
    writer.compact()
    writer.write_trial(trial("t0000", state="completed", ended_at=NOW + timedelta(hours=1)))
    assert read_trials(store)["state"].to_pylist() == ["completed", "completed"]


def test_a_reader_follows_what_comes_changes_and_goes(store: ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    ResultWriter(SweepStore(store, "sweep-b")).write_trial(trial("t0000"))
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    writer.write_trial(trial("t0000", state="failed", error="a long story of what went wrong, and why"))
    reader = ResultReader(store)
    assert read_trials(reader, "sweep-a")["state"].to_pylist() == ["failed"]
    writer.write_trial(trial("t0000", ended_at=NOW - timedelta(hours=1)))
    writer.write_trial(trial("t0001"))
    assert read_trials(reader, "sweep-a")["state"].to_pylist() == ["completed", "completed"]
    assert read_trials(reader)["sweep_id"].to_pylist() == ["sweep-a", "sweep-a", "sweep-b"]
    store.delete("results/v1/trials/sweep_id=sweep-a/t0001.parquet")
    store.write("results/v1/trials/sweep_id=sweep-b/t0000.parquet", b"not what it was")
    assert read_trials(reader)["sweep_id"].to_pylist() == read_trials(store)["sweep_id"].to_pylist() == ["sweep-a"]
    caplog.clear()
    assert len(read_trials(reader)) == 1
    assert not caplog.records, "named once"


def test_descriptions_are_in_what_is_read_and_in_what_is_gathered(store: ObjectStore) -> None:
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    for done in (10, 20):
        writer.write_report(report(pseudo_batches=done))
    assert max(store.sizes("results").values()) < 12_000, "a row of 52 values"
    assert read_reports(store).schema.remove(0).equals(REPORTS, check_metadata=True)
    writer.compact()
    (key,) = store.keys("results/v1/reports")
    gathered = pq.read_schema(pa.BufferReader(store.read(key)))
    assert gathered.equals(REPORTS, check_metadata=True)


def test_an_object_that_does_not_fit_takes_no_other_with_it(store: ObjectStore) -> None:
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    for done in (10, 20, 30):
        writer.write_report(report(pseudo_batches=done, hostname="here"))
    odd = pa.table({"trial_id": ["t0000", "t0000"], "student_updates": ["40", "forty"]})
    for name, rows in {"good": odd.slice(0, 1), "bad": odd.slice(1)}.items():
        pq.write_table(rows, str(Path(store.root, f"results/v1/reports/sweep_id=sweep-a/{name}.parquet")))
    name = store.keys("results/v1/reports")[-1]
    torn = store.read(name).replace(b"hostname", b"\xffostname")
    store.write(f"{name.rpartition('/')[0]}/torn.parquet", torn)
    rows, damaged = ResultReader(store).read_with_damages("reports", "sweep-a")
    assert rows["student_updates"].to_pylist() == [40, 100, 200, 300]  # digits in a text are a number
    words = {key.rpartition("/")[2]: told for key, told in damaged.items()}
    assert words.keys() == {"bad.parquet", "torn.parquet"}
    assert "forty" in words["bad.parquet"]
    assert "utf-8" in words["torn.parquet"]


def test_sweeps_are_kept_apart_and_read_together(store: ObjectStore) -> None:
    for sweep_id in ("sweep-b", "sweep-a", "x00012345"):
        ResultWriter(SweepStore(store, sweep_id)).write_trial(trial())
    assert read_trials(store)["sweep_id"].to_pylist() == ["sweep-a", "sweep-b", "x00012345"]
    assert read_trials(store, "sweep-b")["sweep_id"].to_pylist() == ["sweep-b"]
    assert len(read_trials(store, "sweep-c")) == 0
    assert read_trials(store, "sweep-c").schema.names == ["sweep_id", *TRIALS.names]


def test_sessions_are_read_in_order(store: ObjectStore) -> None:
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    base = {"config_json": "{}", "objective": "x", "searched_json": "[]", "cpus": 1.0, "gpus": 0.0}
    for minute, (session, event) in enumerate([(0, "started"), (0, "interrupted"), (1, "started"), (1, "finished")]):
        writer.write_session({**base, "session": session, "event": event, "at": NOW + timedelta(minutes=minute)})
    assert read_sweeps(store)["event"].to_pylist() == ["started", "interrupted", "started", "finished"]


@pytest.fixture
def two_sweeps(store: ObjectStore) -> Path:
    """Two sweeps with different searched fields; one compacted, one not, one with a missing value and a NaN."""
    first, second = ResultWriter(SweepStore(store, "sweep-a")), ResultWriter(SweepStore(store, "sweep-b"))
    for number, steps in enumerate((5, 10, 10)):
        first.write_trial(trial(f"t{number:04d}", config_student_steps=steps, validation_accuracy=0.1 * number))
    first.compact()
    second.write_trial(trial("t0000", config_temperature=2.0, validation_accuracy=math.nan, state="diverged"))
    second.write_trial(trial("t0001", config_temperature=4.0, config_teacher_checkpoint="x.pt"))
    return Path(store.root, "results", "v1", "trials")


def test_duckdb_reads_it_as_it_lies(two_sweeps: Path) -> None:
    query = f"""
        select sweep_id, config_student_steps, max(validation_accuracy) as best
        from read_parquet('{two_sweeps}/*/*.parquet', hive_partitioning = true)
        where state = 'completed' group by all order by all
    """
    rows = duckdb.connect().execute(query).fetchall()
    assert rows == [("sweep-a", 5, 0.0), ("sweep-a", 10, pytest.approx(0.2)), ("sweep-b", 10, 0.5)]


def test_pandas_reads_it_as_it_lies(two_sweeps: Path) -> None:
    frame = pd.read_parquet(two_sweeps)
    assert len(frame) == 5
    assert frame.groupby("sweep_id", observed=True)["config_temperature"].max().to_dict() == {
        "sweep-a": 1.0,
        "sweep-b": 4.0,
    }


def test_polars_reads_it_as_it_lies(two_sweeps: Path) -> None:
    frame = pl.read_parquet(two_sweeps / "**" / "*.parquet", hive_partitioning=True)
    assert frame.filter(pl.col("config_teacher_checkpoint").is_not_null())["trial_id"].to_list() == ["t0001"]
    assert sorted(frame["sweep_id"].unique().to_list()) == ["sweep-a", "sweep-b"]
