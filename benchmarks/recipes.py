"""Check of the recipes for adding a part: a loss, sampler, method, data-free source, network, data set, provider and others.

    python -m benchmarks.recipes
    python -m benchmarks.recipes sampler network

Each recipe is a patch in ``benchmarks/data/recipes`` that adds a module and its line in a registry. The patch is applied to
the last commit in a temporary worktree, checked by the linters, and used by commands that need no Ray. The exit code is 1 if
a patch touches more than two source files or not its registry, if a linter fails, or if the commands' output does not show
the new part. CONTRIBUTING.md describes the recipes.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
PATCHES = Path(__file__).parent / "data" / "recipes"

MOST_FILES = 2
"""Maximum number of source files that a new part may touch; one of them is the registry."""

TRIAL = {
    "dataset": "digits",
    "teacher": "lenet",
    "student": "lenet",
    "generator_width": 4,
    "batch_size": 16,
    "student_steps": 2,
    "total_pseudo_batches": 4,
    "evaluation_interval": 2,
    "validation_fraction": 0.25,
}
"""Fields of the smallest trial that serves the check."""

SWEEP = {
    "name": "recipe",
    "trial": TRIAL,
    "space": {"temperature": {"type": "categorical", "choices": [1.0, 2.0]}},
    "num_trials": 2,
    "teacher_recipe": {"full_data_epochs": 1, "learning_rate": 0.05, "batch_size": 64},
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a new part is added, and how its use is checked."""

    registry: str
    """File of the registry that lists the new part, relative to the root of the checkout."""

    changes: Mapping[str, Any]
    """Blocks of a sweep that uses the new part; they replace those of ``SWEEP``."""

    shows: str
    """Text that the commands print if the new part was used."""

    commands: Sequence[str] = (
        "sweep recipe.yaml --backend inline --storage runs --sweep-id recipe",
        "results recipe --storage runs",
    )
    """Arguments of ``zskt``."""

    files: Mapping[str, Any] = field(default_factory=dict)
    """Contents of further files beside the sweep's file, by file name."""

    @property
    def sweep(self) -> dict[str, Any]:
        """The sweep that uses the new part."""
        return {**SWEEP, **self.changes}


_AZURE = {
    "cluster_name": "azure",
    "provider": {"type": "azure", "location": "westeurope"},
    "head_node_type": "worker",
    "available_node_types": {
        "worker": {
            "resources": {"CPU": 4, "GPU": 1},
            "node_config": {"azure_arm_parameters": {"vmSize": "Standard_NC4as_T4_v3", "priority": "Spot"}},
        }
    },
}
_PRICE = {"cpus": 4, "gpus": 1, "on_demand": 0.6, "spot": 0.2, "tflops": 2.7, "gb_per_second": 100}

_PIECES = "trainables/config/data_free/pieces.py"

RECIPES = {
    "loss": Recipe(
        registry="trainables/config/divergences.py",
        changes={"trial": {**TRIAL, "student_divergence": "hellinger"}},
        shows="2 of 2 trials ended: 2 completed",
    ),
    "sampler": Recipe(
        registry="orchestrator/samplers/registry.py",
        changes={"sampler": {"name": "halton"}},
        shows="2 of 2 trials ended: 2 completed",
    ),
    "scheduler": Recipe(
        registry="orchestrator/schedulers/registry.py",
        changes={"scheduler": {"name": "floor", "least": 1.1}},
        shows="2 of 2 trials ended: 2 stopped early",
    ),
    "method": Recipe(
        registry="trainables/config/methods.py",
        changes={
            "trial": {
                "method": "noise_distillation",
                "dataset": "digits",
                "teacher": "lenet",
                "student": "lenet",
                "batch_size": 16,
                "noise_updates": 4,
                "evaluation_interval": 2,
                "validation_fraction": 0.25,
            },
            "space": {"learning_rate": {"type": "categorical", "choices": [1e-3, 1e-2]}},
        },
        shows="2 of 2 trials ended: 2 completed",
    ),
    "term": Recipe(
        registry=_PIECES,
        changes={"trial": {**TRIAL, "method": "data_free", "l2_weight": 0.1}},
        shows="2 of 2 trials ended: 2 completed",
    ),
    "source": Recipe(
        registry=_PIECES,
        changes={"trial": {**TRIAL, "method": "data_free", "source": "noise"}},
        shows="2 of 2 trials ended: 2 completed",
    ),
    "pool": Recipe(
        registry=_PIECES,
        changes={"trial": {**TRIAL, "method": "data_free", "pool": "oldest", "pool_size": 24}},
        shows="2 of 2 trials ended: 2 completed",
    ),
    "network": Recipe(
        registry="trainables/config/network_names.py",
        changes={"trial": {**TRIAL, "student": "plain-8", "attention_weight": 0}},
        shows="2 of 2 trials ended: 2 completed",
    ),
    "dataset": Recipe(
        registry="trainables/config/datasets.py",
        changes={
            "trial": {**TRIAL, "dataset": "stripes", "image_size": "24x20"},
            "teacher_recipe": {"full_data_epochs": 6, "learning_rate": 0.05, "batch_size": 32},
        },
        shows="2 of 2 trials ended: 2 completed",
    ),
    "metric": Recipe(
        registry="trainables/metrics.py",
        changes={"objective": "student_weight_norm"},
        shows="recipe, by student_weight_norm",
    ),
    "provider": Recipe(
        registry="cluster/providers/registry.py",
        changes={"resources": {"cpu": 1, "gpu": 1}, "prices": "prices.yaml"},
        files={
            "azure.yaml": _AZURE,
            "prices.yaml": {
                "as_of": datetime.date(2026, 11, 30),
                "region": "westeurope",
                "machines": {"Standard_NC4as_T4_v3": _PRICE},
            },
        },
        commands=("plan recipe.yaml --cluster azure.yaml",),
        shows="Prices are those of the cluster's Standard_NC4as_T4_v3 (spot).",
    ),
}


class RecipeError(Exception):
    """A recipe has failed its check; the message says why."""


@contextmanager
def worktree() -> Iterator[Path]:
    """Check out the last commit into a temporary folder for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="zskt-recipe-") as folder:
        place = Path(folder) / "checkout"
        _run(["git", "worktree", "add", "--detach", "--quiet", str(place), "HEAD"], cwd=ROOT)
        try:
            yield place
        finally:
            _run(["git", "worktree", "remove", "--force", str(place)], cwd=ROOT)


def apply(name: str, place: Path) -> list[str]:
    """Apply a recipe's patch to a checkout.

    Returns:
        The source files that the patch changes or adds.

    Raises:
        RecipeError: the patch does not apply, or touches other files than a module and its registry.
    """
    _run(["git", "apply", "--index", str(PATCHES / f"{name}.patch")], cwd=place)
    touched = _run(["git", "diff", "--cached", "--name-only"], cwd=place).split()
    if len(touched) > MOST_FILES or RECIPES[name].registry not in touched:
        raise RecipeError(
            f"touches {', '.join(touched)}; expected {RECIPES[name].registry} and at most {MOST_FILES - 1} other"
        )
    return touched


def check(name: str, *, mypy_cache: Path) -> list[str]:
    """Apply, lint and run a recipe.

    Args:
        name: A key of ``RECIPES``.
        mypy_cache: Folder of mypy's cache, shared by all recipes, since their checkouts are nearly equal.

    Returns:
        The source files that the recipe touches.

    Raises:
        RecipeError: the recipe fails its check.
    """
    recipe = RECIPES[name]
    with worktree() as place:
        touched = apply(name, place)
        python = [sys.executable, "-m"]
        _run([*python, "ruff", "check", "--no-cache", "."], cwd=place)
        _run([*python, "ruff", "format", "--no-cache", "--check", "."], cwd=place)
        _run([*python, "mypy", "--cache-dir", str(mypy_cache)], cwd=place)
        for file, content in {"recipe.yaml": recipe.sweep, **recipe.files}.items():
            (place / file).write_text(yaml.safe_dump(content, sort_keys=False))
        output = "".join(_zskt(command.split(), place) for command in recipe.commands)
        if recipe.shows not in output:
            raise RecipeError(f"{recipe.shows!r} is missing from the output of the commands:\n{output}")
    return touched


def _zskt(arguments: Sequence[str], place: Path) -> str:
    return _run([sys.executable, "-c", "from orchestrator.cli import main; main()", *arguments], cwd=place)


def _run(command: Sequence[str], *, cwd: Path) -> str:
    """Run a command with a checkout's own code, and return its standard output.

    Raises:
        RecipeError: the command fails.
    """
    environment = os.environ | {"PYTHONPATH": str(cwd), "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RecipeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Check the recipes named on the command line, or all recipes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="RECIPE", help=f"default: all of {', '.join(RECIPES)}")
    names = parser.parse_args().names or list(RECIPES)
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        parser.error(f"unknown recipe {unknown[0]}; allowed: {', '.join(RECIPES)}")
    failed = False
    with tempfile.TemporaryDirectory(prefix="zskt-mypy-") as cache:
        for name in names:
            try:
                touched = check(name, mypy_cache=Path(cache))
            except RecipeError as error:
                failed = True
                print(f"{name}: {error}")
            else:
                print(f"{name}: {len(touched)} source files: {', '.join(touched)}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
