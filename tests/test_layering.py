"""Each folder imports those before it in ``ORDER`` and none after it; what is slow to load is loaded by few."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.layers import (
    Tree,
    crowded,
    loaders,
    long_files,
    strangers,
    uncovered,
    unexplained,
    unit_of,
    upward,
    users,
)
from tests.support.paths import ROOT

PROGRAM = Tree(ROOT, ("trainables", "search_spaces", "cluster", "orchestrator", "zskt_start", "run_sweep"))
"""What users run."""

TREE = Tree(ROOT, (*PROGRAM.packages, "benchmarks", "docs"))
"""All Python but the tests."""

KNOWN = {
    "trainables": set[str](),
    "search_spaces": {"trainables"},
    "cluster": {"zskt_start", "trainables"},
    "orchestrator": {"search_spaces", "trainables", "cluster", "zskt_start"},
    "zskt_start": {"orchestrator"},
    "run_sweep": {"zskt_start"},
    "benchmarks": {"orchestrator", "search_spaces", "trainables", "cluster"},
    "docs": {"orchestrator", "search_spaces", "trainables"},
}
"""What each package may know of the others."""

ORDER = (
    "trainables.errors",
    "trainables.system",
    "trainables.metrics",
    "trainables.storage",
    "trainables.config",
    "trainables.seeding",
    "trainables.networks",
    "trainables.images",
    "trainables.evaluation",
    "trainables.compute",
    "trainables.teachers",
    "trainables.training",
    "trainables.health",
    "trainables.trial_result",
    "trainables.trial",
    "trainables.profiling",
    "trainables.trial_run",
    "trainables.ray_trainables",
    # Names that documents have shown, and the package's own face.
    "trainables.checkpoint",
    "trainables.datasets",
    "trainables.losses",
    "trainables",
    "search_spaces",
    "zskt_start",
    "cluster.providers",
    "cluster",
    "orchestrator.errors",
    "orchestrator.formatting",
    "orchestrator.output",
    "orchestrator.version",
    "orchestrator.kinds",
    "orchestrator.samplers",
    "orchestrator.schedulers",
    "orchestrator.config",
    "orchestrator.storage",
    "orchestrator.results",
    "orchestrator.analysis",
    "orchestrator.reproduction",
    "orchestrator.speedrun",
    "orchestrator.search",
    "orchestrator.costs",
    "orchestrator.inputs",
    "orchestrator.report",
    "orchestrator.monitor",
    "orchestrator.run",
    "orchestrator.commands",
    "orchestrator.cli",
    "orchestrator",
    "run_sweep",
    "benchmarks.published_loop",
    "benchmarks.speed",
    "benchmarks.chaos",
    "benchmarks",
    "docs",
)
"""Folders, and modules that lie in none, the lowest first. A folder within one of these belongs to it."""

ENTRY = ("zskt_start.py", "orchestrator.cli")
"""The start hands over to the command line once it has looked; all else in it is at the bottom."""

TUNE = {"orchestrator/run/tune.py", "trainables/ray_trainables.py"}
"""Files that import ``ray.tune``."""

RAY = {
    "orchestrator/commands/node_facts.py",
    "orchestrator/run/gpu_sharing_measurement.py",
    "orchestrator/run/ray_backend.py",
}
"""Files beside ``cluster/`` that import ``ray``: five at most."""

MAY_LOAD = {
    "torch": {
        "trainables.storage.checkpoint",
        "trainables.storage.students",
        "trainables.seeding",
        "trainables.networks",
        "trainables.images",
        "trainables.evaluation",
        "trainables.compute",
        "trainables.teachers",
        "trainables.training",
        "trainables.trial",
        "trainables.profiling",
        "trainables.trial_run",
        "trainables.ray_trainables",
        "trainables.checkpoint",
        "trainables.losses",
        "orchestrator.search.recovery",
        "orchestrator.costs",
        "orchestrator.inputs",
        "orchestrator.run",
        "orchestrator.commands",
    },
    "ray": {
        "trainables.ray_trainables",
        "orchestrator.run.gpu_sharing_measurement",
        "orchestrator.run.ray_backend",
        "orchestrator.run.tune",
    },
    "optuna": {
        "orchestrator.samplers.independent",
        "orchestrator.schedulers.population",
        "orchestrator.results.sessions",
        "orchestrator.search",
        "orchestrator.costs.estimate",
        "orchestrator.report",
        "orchestrator.monitor",
        "orchestrator.run",
        "orchestrator.commands",
    },
    "boto3": {"trainables.storage.filesystems.s3", "orchestrator.storage.bucket"},
    "plotly": {"orchestrator.report", "orchestrator.commands"},
}
"""Folders and modules in which importing a module may load a library that is slow to load."""


def test_the_tree_is_all_python_but_the_tests() -> None:
    files = subprocess.check_output(["git", "ls-files", "*.py"], cwd=ROOT, text=True).splitlines()
    assert {Path(file).parts[0].removesuffix(".py") for file in files} == {*TREE.packages, "tests"}


def test_only_tests_import_tests() -> None:
    assert users(TREE, "tests") == set()


def test_every_module_has_a_place() -> None:
    assert uncovered(TREE, ORDER) == []


def test_a_folder_imports_those_before_it() -> None:
    assert [line for line in upward(TREE, ORDER) if (line.partition(":")[0], line.split()[-1]) != ENTRY] == []


def test_packages_import_only_what_they_may_know() -> None:
    assert strangers(TREE, KNOWN) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    below = {name: {each.name for each in imports if not each.typing} for name, imports in TREE.imports.items()}
    # What an __init__ offers lazily, or of its own parts, is no layer of its own.
    modules = {name for name, path in TREE.files.items() if path.name != "__init__.py" and name != "zskt_start"}
    TopologicalSorter({name: below[name] & modules for name in modules}).prepare()


def test_the_file_that_ray_submits_alone_imports_the_start_alone() -> None:
    ours = {each.name for each in TREE.imports["run_sweep"]} & TREE.files.keys()
    assert ours == {"zskt_start"}


def test_few_files_know_ray_and_two_know_tune() -> None:
    assert users(PROGRAM, "ray.tune") == TUNE
    assert {file for file in users(PROGRAM, "ray") if not file.startswith("cluster/")} == RAY | TUNE
    assert len(RAY) <= 5


@pytest.mark.parametrize("library", sorted(MAY_LOAD))
def test_a_library_that_is_slow_to_load_is_loaded_by_few(library: str) -> None:
    assert {module for module in loaders(PROGRAM, library) if unit_of(module, MAY_LOAD[library]) is None} == set()


@pytest.mark.parametrize("libraries", [("boto3", "ray"), ("plotly", "torch"), ("optuna",)])
def test_a_process_that_imports_the_others_has_not_loaded_it(libraries: tuple[str, ...]) -> None:
    light = [name for name in PROGRAM.files if all(unit_of(name, MAY_LOAD[library]) is None for library in libraries)]
    code = f"import sys, {', '.join(light)}; sys.exit(str({set(libraries)} & sys.modules.keys() or ''))"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "", "loaded by another library, or by what no module imports by name"


def test_imports_that_wait_in_functions_say_what_that_saves() -> None:
    assert unexplained(TREE) == []


def test_folders_and_files_are_small() -> None:
    assert crowded(TREE, most=12) == []
    assert long_files(TREE, most=400) == []


PLANTED = {
    "low/__init__.py": "",
    "low/a.py": "from __future__ import annotations\n",
    "low/b/__init__.py": "from low.b.c import VALUE\n",
    "low/b/c.py": "VALUE = 1\n",
    "high/__init__.py": '"""Docstring."""\n',
    "high/a.py": "from low import a\nfrom low.b import VALUE\n",
    "high/b.py": "import high.a\n\n\ndef late() -> None:\n    import torch.nn  # takes seconds\n",
}
"""A tree that keeps all of the rules."""

PLANTED_ORDER = ("low.b", "low", "high")


def planted(root: Path, changes: Mapping[str, str] | None = None) -> Tree:
    """That tree, with some of its files changed."""
    for name, text in {**PLANTED, **(changes or {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(root, ("low", "high"))


def test_a_sound_tree_breaks_no_rule(tmp_path: Path) -> None:
    tree = planted(tmp_path)
    assert uncovered(tree, PLANTED_ORDER) == upward(tree, PLANTED_ORDER) == unexplained(tree) == []
    assert strangers(tree, {"low": set(), "high": {"low"}}) == crowded(tree, most=3) == []
    assert loaders(tree, "torch") == set()
    assert users(tree, "torch") == {"high/b.py"}


@pytest.mark.parametrize("text", ["from high import a\n", "import high.a\n", "def f() -> None:\n    import high.a\n"])
def test_an_import_upwards_is_seen_wherever_it_stands(text: str, tmp_path: Path) -> None:
    tree = planted(tmp_path, {"low/a.py": text})
    line = text.count("\n")
    assert upward(tree, PLANTED_ORDER) == [f"low/a.py:{line} imports high.a"]
    assert strangers(tree, {"low": set(), "high": {"low"}}) == [f"low/a.py:{line} imports high.a"]


def test_a_folder_that_imports_the_one_around_it_is_seen(tmp_path: Path) -> None:
    assert upward(planted(tmp_path, {"low/b/c.py": "import low.a\nVALUE = 1\n"}), PLANTED_ORDER) == [
        "low/b/c.py:1 imports low.a"
    ]


def test_a_module_without_a_place_is_seen_and_a_place_without_a_module(tmp_path: Path) -> None:
    assert uncovered(planted(tmp_path), ("low", "middle")) == ["high", "high.a", "high.b", "middle"]


@pytest.mark.parametrize("where", ["low/a.py", "low/b/c.py", "low/b/__init__.py"])
def test_a_library_is_seen_however_far_down_it_is_loaded(where: str, tmp_path: Path) -> None:
    tree = planted(tmp_path, {where: "from torch import nn\nVALUE = nn\n"})
    assert {"high.a", "high.b"} <= loaders(tree, "torch")
    assert loaders(tree, "ray") == set()


def test_what_only_type_checkers_import_loads_nothing(tmp_path: Path) -> None:
    text = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import torch\n"
    tree = planted(tmp_path, {"low/a.py": text})
    assert loaders(tree, "torch") == set()
    assert users(tree, "torch") == {"high/b.py"}


def test_tune_is_told_from_ray(tmp_path: Path) -> None:
    tree = planted(
        tmp_path, {"high/a.py": "from ray import tune\n", "low/a.py": "import ray\n", "high/b.py": "import raydium\n"}
    )
    assert users(tree, "ray") == {"high/a.py", "low/a.py"}
    assert users(tree, "ray.tune") == {"high/a.py"}


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("    import torch\n", [2]),
        ("    # It takes seconds.\n    import torch\n\n    import low.a\n", []),
        ("    from low import (\n        a,  # it takes seconds\n    )\n", []),
        ("    # Of something else.\n    print()\n    import torch\n", [4]),
        ("    import torch  # it takes seconds\n    print()\n    import low.a\n", [4]),
        ("    url = '# no comment'\n    import torch\n", [3]),
    ],
)
def test_an_import_that_waits_without_a_word_is_seen(body: str, lines: list[int], tmp_path: Path) -> None:
    tree = planted(tmp_path, {"high/b.py": f"def late() -> None:\n{body}"})
    assert [line.partition(" ")[0] for line in unexplained(tree)] == [f"high/b.py:{number}" for number in lines]


def test_who_imports_tests_is_seen(tmp_path: Path) -> None:
    tree = planted(
        tmp_path, {"high/a.py": "from tests.support.servers import moto_server\n", "low/a.py": "import testing\n"}
    )
    assert users(tree, "tests") == {"high/a.py"}


def test_a_crowd_and_a_long_file_are_seen(tmp_path: Path) -> None:
    tree = planted(tmp_path, {"high/c.py": "A = 1\n" * 5, "alone.py": "A = 1\n" * 6, "other.py": "", "third.py": ""})
    tree = Tree(tree.root, (*tree.packages, "alone", "other", "third"))
    assert sorted(crowded(tree, most=2)) == [".: 3 modules", "high: 3 modules"]
    assert sorted(long_files(tree, most=4)) == ["alone.py: 6 lines", "high/b.py: 5 lines", "high/c.py: 5 lines"]


def test_no_test_imports_another() -> None:
    """What several tests use is in tests/support; so a test's file can be moved, split or deleted by itself."""
    modules = {path: ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("*.py")}
    imported = {
        (str(path.relative_to(ROOT)), name)
        for path, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        if name.startswith("tests.") and not name.startswith("tests.support")
    }
    assert len(modules) > 150 and imported == set()
