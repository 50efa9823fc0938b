"""Runs the queries of docs/results.md on results whose answers are known, on a folder and in a bucket."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.fs
import pytest

from orchestrator.results import ResultWriter, read
from orchestrator.storage import SweepStore, find_storage
from tests.support.missing import NEEDS_HTTPFS
from tests.support.paths import ROOT
from tests.support.rows import report, trial
from tests.support.tiny import make_bucket

PAGE = (ROOT / "docs" / "results.md").read_text()
TEACHER = "c921ecae74fd"


def fill(place: str) -> None:
    """A search over step ratios and a sweep of cases; one compacted, one as trials report."""
    searched, compared = (
        ResultWriter(SweepStore(find_storage(place), "searched")),
        ResultWriter(SweepStore(find_storage(place), "compared")),
    )
    for number, (steps, accuracy) in enumerate([(5, 0.8), (10, 0.9), (10, 0.95)]):
        name = f"t{number:04d}"
        searched.write_trial(
            trial(name, config_student_steps=steps, validation_accuracy=accuracy, teacher_sha256=TEACHER + "0" * 52)
        )
        for done in (10, 20):
            searched.write_report(
                report(
                    name, done, validation_accuracy=accuracy - 0.1 + done / 200, training_seconds=done * (number + 1.0)
                )
            )
    searched.write_trial(trial("t0003", state="failed", validation_accuracy=1.0))
    searched.compact()
    for number, (case, accuracy) in enumerate([("baseline", 0.5), ("better", 0.7), ("baseline", 0.6), ("better", 0.9)]):
        compared.write_trial(
            trial(f"t{number:04d}", case=case, config_seed=number // 2, test_accuracy=accuracy, config_temperature=2.0)
        )


@pytest.fixture
def queries(tmp_path: Path) -> list[str]:
    fill(str(tmp_path / "runs"))
    found = re.findall(r"```sql\n(.*?)```", PAGE, flags=re.DOTALL)
    return [query.replace("'runs/", f"'{tmp_path}/runs/") for query in found]


def test_the_queries_answer_what_they_say(queries: list[str]) -> None:
    ratios, seeds, cost, teacher = (duckdb.connect().execute(query).fetchall() for query in queries)
    assert ratios == [(1, 10, 0.95, 6), (1, 5, 0.8, 1)]
    assert [(*row[:3], round(row[3], 6), round(row[4], 6)) for row in seeds] == [
        ("compared", "better", 2, 0.8, 0.1),
        ("compared", "baseline", 2, 0.55, 0.05),
    ]
    assert cost == [("searched", "t0002", 30.0, 100), ("searched", "t0001", 40.0, 200)]
    assert [row[:2] for row in teacher] == [("searched", f"t000{number}") for number in range(3)]


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_reader_reads_all_sweeps_or_one(tmp_path: Path) -> None:
    fill(str(tmp_path / "runs"))
    code = blocks()[0].replace('"./runs"', f'"{tmp_path}/runs"').replace("quickstart-c20469bd", "searched")
    found: dict[str, Any] = {}
    exec(code, found)
    assert len(found["trials"]) == 8
    assert set(found["trials"]["sweep_id"]) == {"searched", "compared"}
    assert len(found["reports"]) == 6


def test_a_bucket_is_read_as_it_lies(moto: str) -> None:
    address = make_bucket(moto).replace("?", "/prefix?")
    fill(address)
    place, _, query = address.partition("?")
    uri = f"{place}/results/v1/trials"
    found: dict[str, Any] = {}
    exec(blocks()[1].replace("s3://bucket/prefix/results/v1/trials", f"{uri}?{query}"), found)
    assert found["best"].to_dict("list") == {"sweep_id": ["compared", "searched"], "best": [0.5, 1.0]}

    bucket, folder = pyarrow.fs.FileSystem.from_uri(f"{uri}?{query}")
    frame = pd.read_parquet(folder, filesystem=bucket)
    assert frame.groupby("sweep_id", observed=True)["config_temperature"].max().to_dict() == {
        "searched": 1.0,
        "compared": 2.0,
    }
    options = {"aws_endpoint_url": moto, "aws_allow_http": "true"}
    lazy = pl.scan_parquet(f"{uri}/**/*.parquet", hive_partitioning=True, storage_options=options)
    assert lazy.select(pl.col("sweep_id").unique().sort()).collect()["sweep_id"].to_list() == ["compared", "searched"]
    assert len(read(find_storage(address))) == 8


@NEEDS_HTTPFS
def test_duckdb_reads_s3_by_itself(moto: str) -> None:
    extension: Any = import_module("duckdb_extension_httpfs")
    (file,) = Path(extension.__file__).parent.rglob(f"v{duckdb.__version__}/httpfs.duckdb_extension")
    address = make_bucket(moto).replace("?", "/prefix?")
    fill(address)
    connection = duckdb.connect()
    connection.execute(f"load '{file}'")  # offline, from the package
    host = moto.removeprefix("http://")
    connection.execute(
        f"create secret (type s3, key_id 'test', secret 'testsecret', endpoint '{host}', url_style 'path', use_ssl false)"
    )
    files = f"{address.partition('?')[0]}/results/v1/trials/*/*.parquet"
    rows = connection.execute(f"select count(*) from read_parquet('{files}', hive_partitioning = true)").fetchall()
    assert rows == [(8,)]
