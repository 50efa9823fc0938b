"""A loss, a sampler, a scheduler, a method, a network, a data set, a provider and a metric each cost a module and a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import recipes
from tests.support.paths import ROOT


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_recipe_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.recipes"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == list(recipes.RECIPES)


def test_a_patch_that_touches_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch = "".join(
        f"diff --git a/{name} b/{name}\nnew file mode 100644\n--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+x = 1\n"
        for name in ("one.py", "two.py", "three.py")
    )
    (tmp_path / "loss.patch").write_text(patch)
    monkeypatch.setattr(recipes, "PATCHES", tmp_path)
    with recipes.worktree() as place, pytest.raises(recipes.RecipeError, match=r"touches one\.py, three\.py, two\.py"):
        recipes.apply("loss", place)


def test_an_unknown_recipe_is_a_message(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["recipes", "optimiser"])
    with pytest.raises(SystemExit):
        recipes.main()
    assert "unknown recipe optimiser; allowed: loss, sampler," in capsys.readouterr().err
