from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from typer.testing import CliRunner

from orchestrator.analysis.leaderboard import read_leaderboard
from orchestrator.cli import app
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError, SweepMismatchError
from orchestrator.kinds import KindRegistry
from orchestrator.run.checks import check_same_sweep
from orchestrator.samplers.registry import SAMPLERS
from orchestrator.schedulers.base import Decision
from orchestrator.schedulers.registry import SCHEDULERS
from orchestrator.storage import SweepStore, find_storage
from search_spaces import preset_names
from tests.support.kept import KEPT, SWEEP_ID
from trainables.config import Config

Scalar = str | int | float | bool | None


class FlatSampler(Config):
    """The block as it was before there were kinds: what ids were made from, and what lies on storages."""

    name: Literal["tpe", "gp", "cmaes", "nsgaii", "qmc", "grid", "random"] = "tpe"
    startup_trials: Annotated[int, Field(ge=1)] = 10
    arguments: dict[str, Scalar] = Field(default_factory=dict)
    grid: dict[str, Annotated[list[Scalar], Field(min_length=1)]] = Field(default_factory=dict)


class FlatScheduler(Config):
    """Likewise."""

    name: Literal["asha", "median", "pbt", "none"] = "asha"
    grace: Annotated[float, Field(gt=0, le=1)] = 0.25
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    smoothing: Annotated[int, Field(ge=1)] = 3
    minimum_trials: Annotated[int, Field(ge=1)] = 5
    population: Annotated[int, Field(ge=2)] = 8
    generations: Annotated[int, Field(ge=2)] = 10
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25


class FlatBlocks(Config):
    sampler: FlatSampler = FlatSampler()
    scheduler: FlatScheduler = FlatScheduler()


SHARES = st.floats(0, 1, exclude_min=True, allow_subnormal=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "startup_trials": st.integers(1, 99),
    "arguments": st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from([1, 0.5, True, None, "x"])),
    "grid": st.just({"student_steps": [5, 10], "temperature": [1.0, 2, None]}),
    "grace": SHARES | st.just(1),
    "reduction_factor": st.integers(2, 9),
    "smoothing": st.integers(1, 9),
    "minimum_trials": st.integers(1, 9),
    "population": st.integers(2, 9),
    "generations": st.integers(2, 9),
    "quantile": st.floats(0.01, 0.5),
}


@st.composite
def blocks(draw: st.DrawFn, registry: KindRegistry[Any], flat: type[Config]) -> dict[str, Any]:
    """A block of a kind that there was then, without fields of other kinds."""
    name = draw(st.sampled_from(get_args(flat.model_fields["name"].annotation)))
    fields = [field for field in registry.kinds[name].model_fields if field != "name"]
    given_fields = [field for field in fields if field == "grid" or draw(st.booleans())]
    named = {} if name == registry.names()[0] and draw(st.booleans()) else {"name": name}
    return named | {field: draw(VALUES[field]) for field in given_fields}


def old_id(sweep: SweepConfig, blocks: dict[str, Any]) -> str:
    """The sweep's id as it was made before there were kinds."""
    given = sweep._without_limits.model_dump(exclude_defaults=True, exclude={"sampler", "scheduler"})
    given |= FlatBlocks.model_validate(blocks).model_dump(exclude_defaults=True)
    identity = {key: value for key, value in given.items() if key in sweep.identity}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{sweep.name}-{digest[:8]}"


@settings(max_examples=300, deadline=None)
@given(sampler=blocks(SAMPLERS, FlatSampler), scheduler=blocks(SCHEDULERS, FlatScheduler))
def test_no_id_and_nothing_on_storage_changes_with_the_kinds(
    sampler: dict[str, Any], scheduler: dict[str, Any]
) -> None:
    both = {"sampler": sampler, "scheduler": scheduler}
    flat = FlatBlocks.model_validate(both)
    parsed = SAMPLERS.parse(sampler), SCHEDULERS.parse(scheduler)
    sweep = SweepConfig(name="a").model_copy(update={"sampler": parsed[0], "scheduler": parsed[1]})
    assert sweep.default_sweep_id == old_id(sweep, both)
    assert {key: sweep.identity[key] for key in both} == flat.model_dump()
    stored = json.loads(sweep.model_dump_json())
    assert json.dumps({key: stored[key] for key in both}) == json.dumps(flat.model_dump(mode="json"))
    # What a session has written down is read again, by itself and as a file.
    for again in (stored, sweep.model_dump()):
        assert (SAMPLERS.parse(again["sampler"]), SCHEDULERS.parse(again["scheduler"])) == parsed
        assert SCHEDULERS.parse(again["scheduler"], stored=True) == parsed[1]


@pytest.mark.parametrize("preset", preset_names())
def test_no_id_of_a_preset_changes_with_the_kinds(preset: str) -> None:
    sweep = load_sweep(preset)
    dumped = sweep.model_dump()
    both = {"sampler": dumped["sampler"], "scheduler": dumped["scheduler"]}
    assert FlatBlocks.model_validate(both).model_dump() == both
    assert sweep.default_sweep_id == old_id(sweep, both)


@pytest.mark.parametrize("registry", [SAMPLERS, SCHEDULERS], ids=["sampler", "scheduler"])
def test_blocks_are_written_with_every_field_and_its_default(registry: KindRegistry[Any]) -> None:
    for name, kind in registry.kinds.items():
        assert kind.model_fields["name"].default == name
        for field, info in kind.model_fields.items():
            if field != "name":
                default = info.get_default(call_default_factory=True)
                assert registry._flat.get(field, default) == default, f"{name}.{field}"


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    return tmp_path / "a.yaml"


def write(file: Path, **changes: Any) -> str:
    space = {"temperature": {"type": "float", "low": 1, "high": 4}}
    file.write_text(yaml.safe_dump({"name": "a", "trial": {"dataset": "digits"}, "space": space, **changes}))
    return str(file)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"scheduler": {"name": "asha", "population": 9}},
            "scheduler: population=9 does nothing: it is a field of pbt, and asha ",
        ),
        ({"scheduler": {"population": 9}}, "asha has grace, reduction_factor, smoothing. Leave it out; "),
        ({"scheduler": {"name": "none", "grace": 0.5}}, "it is a field of asha, median, and none has no fields"),
        (
            {"scheduler": {"name": "asha", "quantile": 0.25}},
            "quantile=0.25 does nothing",
        ),  # its default is no use either
        ({"sampler": {"name": "random", "startup_trials": 99}}, "sampler: startup_trials=99 does nothing"),
        ({"sampler": {"name": "random", "startup_trials": 99}}, "can be resumed without it, with --sweep-id ID"),
        ({"scheduler": {"name": "ahsa"}}, "scheduler: unknown scheduler 'ahsa'; did you mean asha?"),
        ({"scheduler": {"grase": 1}}, "scheduler: unknown field 'grase'; did you mean grace?"),
        ({"scheduler": {"grace": 2}}, "scheduler.grace=2: not allowed; grace must be a number > 0, <= 1"),
        (
            {"scheduler": {"name": "pbt", "population": 1}},
            "scheduler.population=1: not allowed; population must be a whole",
        ),
        ({"sampler": {"name": "grid", "grid": {"a": []}}}, "sampler.grid.a=[]"),
        ({"sampler": {"name": "gone.py:Mine"}}, "sampler: sampler 'gone.py:Mine': there is no file gone.py"),
    ],
)
def test_what_a_kind_does_not_have_is_refused_in_a_line(block: dict[str, Any], message: str, sweep_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sweep(write(sweep_file, **block))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{sweep_file}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_stored_knob_that_does_nothing_is_said_once_and_ignored(
    sweep_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = load_sweep(write(sweep_file))
    stored = json.loads(sweep.model_dump_json())
    stored["scheduler"]["population"] = 907
    stored["sampler"] |= {"name": "random", "startup_trials": 908}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            read = SweepConfig.stored(json.dumps(stored))
    assert read.scheduler == sweep.scheduler
    assert sorted(record.getMessage() for record in caplog.records) == [
        "sampler: startup_trials=908 is ignored: random has no such field",
        "scheduler: population=907 is ignored: asha has no such field",
    ]
    with_it_left_out = load_sweep(write(sweep_file, sampler={"name": "random"}))
    assert read.identity == with_it_left_out.identity


def begun_with_a_dead_knob(folder: Path) -> tuple[str, str]:
    """A sweep on a storage whose sessions wrote down ``population: 909`` with ASHA; its file and its storage."""
    shutil.copytree(KEPT, folder)
    for path in (folder / "store" / "results" / "v1" / "sweeps").rglob("*.parquet"):
        table = pq.ParquetFile(path).read()
        configs = [json.loads(text) for text in table["config_json"].to_pylist()]
        for config in configs:
            config["scheduler"]["population"] = 909
        column = pa.array([json.dumps(config) for config in configs])
        pq.write_table(table.set_column(table.schema.get_field_index("config_json"), "config_json", column), path)
    return str(folder / "search.yaml"), str(folder / "store")


@pytest.mark.parametrize("command", ["results", "status", "report"])
def test_a_sweep_that_was_begun_with_a_dead_knob_is_shown_and_says_so_once(
    command: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store = begun_with_a_dead_knob(tmp_path / "kept")
    monkeypatch.setattr(SCHEDULERS, "_said", set())  # as in a process of its own
    result = CliRunner().invoke(app, [command, SWEEP_ID, "--storage", store], catch_exceptions=False)
    assert result.exit_code == 0
    assert SWEEP_ID in result.output
    said = [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()]
    assert said == ["scheduler: population=909 is ignored: asha has no such field"]


def test_a_sweep_that_was_begun_with_a_dead_knob_goes_on_without_it_under_its_id(tmp_path: Path) -> None:
    file, address = begun_with_a_dead_knob(tmp_path / "kept")
    sweep, store = load_sweep(file), find_storage(address)
    begun = SweepStore(store, SWEEP_ID)
    check_same_sweep(begun, sweep)
    assert read_leaderboard(begun).sweep.scheduler == sweep.scheduler  # which is what zskt confirm goes by
    content = yaml.safe_load(Path(file).read_text())
    content["scheduler"]["population"] = 909
    Path(file).write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(app, ["sweep", file, "--storage", address], catch_exceptions=False)
    assert result.exit_code == 2
    assert "population=909 does nothing" in result.output
    assert "--sweep-id ID" in result.output
    content["scheduler"] = {"name": "asha", "grace": 0.5}
    Path(file).write_text(yaml.safe_dump(content))
    with pytest.raises(SweepMismatchError, match="scheduler"):  # what differs otherwise still tells them apart
        check_same_sweep(begun, load_sweep(file))


OWN = """
from typing import Annotated
from pydantic import Field
from typer.testing import CliRunner
from orchestrator.schedulers.base import BudgetRule, SchedulerConfig

class Strict(SchedulerConfig):
    "Stops every trial that is worse than a bound."
    bound: Annotated[float, Field(gt=0)] = 0.5
    def build(self, *, mode, budget, past_reports=()):
        return Rule(self.bound, mode=mode, past_reports=past_reports)

class Rule(BudgetRule):
    def __init__(self, bound, **given):
        self.bound = bound
        super().__init__(**given)
    def _goes_on(self, trial_id, used):
        return self._values[trial_id][used] > self.bound

class NoScheduler:
    pass
"""


def test_a_file_beside_the_sweep_brings_a_kind(sweep_file: Path, tmp_path: Path) -> None:
    own = tmp_path / "rules.py"
    own.write_text(OWN)
    block = {"name": f"{own}:Strict", "bound": 0.75}
    sweep = load_sweep(write(sweep_file, scheduler=block))
    rule = sweep.scheduler.build(mode="max", budget=100)
    assert rule is not None
    assert [rule.on_report("a", 10, value) for value in (0.7, 0.8)] == [Decision.STOP, Decision.STOP]
    assert rule.on_report("b", 10, 0.8) is Decision.CONTINUE
    assert load_sweep(str(sweep_file)) == sweep
    assert sweep.default_sweep_id != load_sweep(write(sweep_file, scheduler={**block, "bound": 0.7})).default_sweep_id
    with pytest.raises(ConfigError, match=r"scheduler.bound=-1"):
        load_sweep(write(sweep_file, scheduler={**block, "bound": -1}))
    with pytest.raises(ConfigError, match="unknown field 'bond'; did you mean bound"):
        load_sweep(write(sweep_file, scheduler={**block, "bond": 1}))
    with pytest.raises(ConfigError, match="defines no Stict"):
        load_sweep(write(sweep_file, scheduler={"name": f"{own}:Stict"}))
    broken = tmp_path / "broken.py"
    broken.write_text("class Mine: pass\n1 / 0\n")
    with pytest.raises(ConfigError, match=r"scheduler: scheduler '.*broken.py:Mine': .* fails: ZeroDivisionError"):
        load_sweep(write(sweep_file, scheduler={"name": f"{broken}:Mine"}))
    with pytest.raises(ConfigError, match="expected a subclass of SchedulerConfig"):
        load_sweep(write(sweep_file, scheduler={"name": f"{own}:NoScheduler"}))


def test_an_installed_package_brings_a_kind(sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_rules.py").write_text(OWN)
    (tmp_path / "theirs-1.0.dist-info").mkdir()
    (tmp_path / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    entry = "[zskt.schedulers]\nstrict = their_rules:Strict\ngone = their_rules:Gone\n"
    (tmp_path / "theirs-1.0.dist-info" / "entry_points.txt").write_text(entry)
    file = write(sweep_file, scheduler={"name": "strict", "bound": 0.75})
    with pytest.raises(ConfigError, match="unknown scheduler 'strict'"):
        load_sweep(file)
    monkeypatch.syspath_prepend(tmp_path)
    broken = write(tmp_path / "b.yaml", scheduler={"name": "gone"})
    with pytest.raises(ConfigError, match="scheduler 'gone': their_rules:Gone cannot be loaded"):
        load_sweep(broken)
    sweep = load_sweep(file)
    assert SweepConfig.stored(sweep.model_dump_json()) == sweep
    assert sweep.scheduler.build(mode="max", budget=9) is not None
    assert sweep.scheduler.in_words == "early stopping by strict"


def test_a_stored_kind_of_a_file_is_read_without_running_the_file(sweep_file: Path, tmp_path: Path) -> None:
    own = tmp_path / "rules.py"
    own.write_text(OWN)
    sweep = load_sweep(write(sweep_file, scheduler={"name": f"{own}:Strict", "bound": 0.75}))
    read = SweepConfig.stored(sweep.model_dump_json())
    assert read.identity == sweep.identity
    assert read.scheduler.name == f"{own}:Strict"
    traps = {"trap.py": "raise SystemExit(7)", "gone.py": None}
    for name, content in traps.items():
        if content:
            (tmp_path / name).write_text(content)
        elsewhere = SweepConfig.stored(sweep.model_dump_json().replace(str(own), str(tmp_path / name)))
        assert elsewhere.model_dump()["scheduler"] == read.model_dump()["scheduler"] | {
            "name": f"{tmp_path / name}:Strict"
        }


def test_reading_a_config_loads_no_optuna_and_no_numpy() -> None:
    """Every kind is read; in a process of its own, since tests have loaded both."""
    code = """
import sys
from orchestrator.samplers.registry import SAMPLERS
from orchestrator.schedulers.registry import SCHEDULERS
for registry in (SAMPLERS, SCHEDULERS):
    for name in registry.kinds:
        registry.parse({"name": name, **({"grid": {"a": [1]}} if "grid" in registry.kinds[name].model_fields else {})})
print(sorted({"optuna", "numpy", "ray", "torch"} & sys.modules.keys()))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
