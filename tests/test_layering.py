"""Imports go one way: run_sweep -> orchestrator -> {search_spaces, trainables, cluster}; search_spaces -> trainables."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"trainables", "search_spaces", "orchestrator", "cluster"}
ALLOWED = {
    "trainables": set[str](),
    "cluster": set[str](),
    "search_spaces": {"trainables"},
    "orchestrator": {"search_spaces", "trainables", "cluster"},
    "run_sweep": {"orchestrator"},
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


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages_import_only_what_is_below_them(package: str) -> None:
    assert files(package)
    for path in files(package):
        ours = {name.split(".")[0] for name in imported(path)} & (PACKAGES | {"run_sweep", "tests", "benchmarks"})
        assert ours <= ALLOWED[package] | {package}, path


def test_the_one_file_that_ray_submits_needs_the_installed_package_only() -> None:
    ours = {name.split(".")[0] for name in imported(ROOT / "run_sweep.py")} & PACKAGES
    assert ours == ALLOWED["run_sweep"]


def test_a_trial_runs_without_ray() -> None:
    for path in files("trainables"):
        if path.name not in RAY_FILES | {"__init__.py"}:
            assert "ray" not in {name.split(".")[0] for name in imported(path)}, path


def test_this_test_sees_what_it_looks_for() -> None:
    assert "ray.tune" in imported(ROOT / "trainables" / "ray_trainables.py")
    assert "trainables.config" in imported(ROOT / "orchestrator" / "config.py")
