"""Imports go one way: run_sweep -> orchestrator -> {search_spaces, trainables, cluster}; search_spaces -> trainables."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"trainables", "search_spaces", "orchestrator", "cluster"}
ALLOWED = {
    "trainables": set[str](),
    "cluster": set[str](),
    "search_spaces": {"trainables"},
    "orchestrator": {"search_spaces", "trainables", "cluster"},
    "run_sweep": {"zskt_start"},
    "zskt_start": {"orchestrator"},
}
RAY_FILES = {"ray_trainables.py"}


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return names


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages_import_only_what_is_below_them(package: str) -> None:
    assert files(package)
    for path in files(package):
        ours = {name.split(".")[0] for name in imported(path)} & (PACKAGES | {"run_sweep", "tests", "benchmarks"})
        assert ours <= ALLOWED[package] | {package}, path


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {module_name(path): path for package in PACKAGES for path in files(package)}
    below = {name: {other for other in imported(path) if other in modules} for name, path in modules.items()}
    # What an __init__ offers lazily, or of its own parts, is no layer of its own.
    order = TopologicalSorter({name: others for name, others in below.items() if modules[name].name != "__init__.py"})
    order.prepare()


def test_the_one_file_that_ray_submits_needs_the_installed_package_only() -> None:
    for module in ("run_sweep", "zskt_start"):
        ours = {name.split(".")[0] for name in imported(ROOT / f"{module}.py")} & (PACKAGES | {"zskt_start"})
        assert ours == ALLOWED[module]


def test_a_trial_runs_without_ray() -> None:
    for path in files("trainables"):
        if path.name not in RAY_FILES | {"__init__.py"}:
            assert "ray" not in {name.split(".")[0] for name in imported(path)}, path


def test_this_test_sees_what_it_looks_for() -> None:
    assert "ray.tune" in imported(ROOT / "trainables" / "ray_trainables.py")
    assert "trainables.config" in imported(ROOT / "orchestrator" / "config" / "sweep.py")
