"""What commands that only read cost: libraries that they must not load, and CPU seconds beside those of what they need."""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys

import pytest

from orchestrator.config.loading import load_sweep
from orchestrator.storage import open_storage
from tests.support.synthetic import write_cases, write_search

HEAVY = {"torch", "ray", "boto3", "botocore", "pandas", "plotly", "scipy", "torchvision"}
COMMANDS = {
    "--help": set[str](),
    "presets": set(),
    "results searched": set[str](),
    "results compared": set[str](),
    "status searched": {"optuna"},
    "sweeps": set[str](),
}
"""What is typed, and what of the slow libraries it may load beside pyarrow, pydantic, typer and rich."""

NEEDED = """
import pyarrow.compute, pyarrow.parquet, typer, rich.console, rich.live, rich.table
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
"""

MORE = 1.5
"""CPU seconds that a command may take, in those of importing its libraries."""

COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""The environment with bytecode kept beside the sources, as every installation has it, of the libraries and of this program:
without it each process would compile the program anew and the libraries not."""

RUN = """
import sys
from orchestrator.cli import main
sys.argv[1:] = {arguments!r}
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("weight"))
    store = open_storage(folder)
    write_search(store, "searched")
    sweep = load_sweep("digits-table-1")
    write_cases(store, "compared", sweep, dict.fromkeys(sweep.cases, 0.8))
    return folder


def script(command: str, storage: str) -> str:
    where = () if command in ("--help", "presets") else ("--storage", storage)
    return RUN.format(arguments=[*command.split(), *where])


def loaded(code: str) -> set[str]:
    asked = f"{code}\nprint('loaded:', *{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    return set(result.stdout.rpartition("loaded:")[2].split())


def cpu_seconds(code: str) -> float:
    """CPU seconds of one process that runs the code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=COMPILED)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_reads_a_folder_loads_nothing_heavy(command: str, storage: str) -> None:
    may = COMMANDS[command]
    assert loaded(script(command, storage)) & (HEAVY | {"optuna"}) == may


@pytest.mark.parametrize(
    "module",
    [
        "orchestrator.config",
        "orchestrator.storage",
        "orchestrator.results",
        "orchestrator.results.inventory",
        "orchestrator.analysis.leaderboard",
        "orchestrator.monitor.status",
        "orchestrator.monitor.webhook",
        "orchestrator.report.data",
        "trainables.config",
    ],
)
def test_a_module_that_reads_loads_nothing_heavy(module: str) -> None:
    assert loaded(f"import sys, {module}") & HEAVY == set()


def test_what_is_heavy_would_be_seen() -> None:
    assert "boto3" in loaded("import sys, orchestrator.storage.bucket")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", "results searched", "status searched"])
def test_a_command_costs_little_more_than_its_libraries(command: str, storage: str) -> None:
    """Compare the least of several processes each, taking turns.

    What else the machine does adds to both, so that a few more turns may be needed to see either without it.
    """
    libraries = f"{NEEDED}import optuna.storages" if "optuna" in COMMANDS[command] else NEEDED
    whole = script(command, storage)
    cpu_seconds(whole)  # leaves the bytecode behind
    spent = needed = math.inf
    for turn in range(30):
        spent, needed = min(spent, cpu_seconds(whole)), min(needed, cpu_seconds(libraries))
        if turn >= 8 and spent <= MORE * needed:
            return
    pytest.fail(f"{spent:.3f} s for {command}, {needed:.3f} s for its libraries")
