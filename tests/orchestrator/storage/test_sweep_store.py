from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from orchestrator.storage import SweepStore, layout
from tests.support.paths import ROOT
from trainables.storage.object_store import ObjectStore

ORCHESTRATOR = ROOT / "orchestrator"


def takes_a_pair(function: ast.FunctionDef) -> bool:
    """Whether a function takes a storage and the id of a sweep on it side by side."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    types = {argument.arg: ast.unparse(argument.annotation) if argument.annotation else "" for argument in arguments}
    return "sweep_id" in types and any(name == "store" or "ObjectStore" in kind for name, kind in types.items())


def functions(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]


def test_no_function_takes_a_storage_and_a_sweeps_id_side_by_side() -> None:
    files = ORCHESTRATOR.rglob("*.py")
    found = [f"{file.name}: {one.name}" for file in files for one in functions(file.read_text()) if takes_a_pair(one)]
    assert found == []


def test_such_a_function_would_be_seen() -> None:
    pairs = (
        "def f(store, sweep_id): ...",
        "def f(*, sweep_id: str, storage: ObjectStore | None = None): ...",
        "def f(objects: ObjectStore, /, sweep_id: str = ''): ...",
    )
    assert all(takes_a_pair(one) for source in pairs for one in functions(source))
    assert not any(map(takes_a_pair, functions("def f(sweep: SweepStore, store: ObjectStore): ...")))


def test_everything_of_a_sweep_lies_where_it_always_lay(store: ObjectStore) -> None:
    sweep = SweepStore(store, "sweep-a")
    places = {
        "studies/sweep-a/x": sweep.study,
        "checkpoints/sweep-a/x": sweep.checkpoints,
        "students/x": sweep.students,
        "results/v1/transition_curves/sweep_id=sweep-a/x": sweep.transition_curves,
        "results/v1/snapshots/sweep_id=sweep-a/x": sweep.snapshots,
    }
    for key, place in places.items():
        place.write("x", b"there")
        assert store.keys("")[0] == key
        store.delete(key)
    assert sweep.report_page == "reports/sweep-a/index.html"
    assert sweep.table_folder("trials") == "results/v1/trials/sweep_id=sweep-a"
    assert sweep.tensorboard_folder == Path(store.root) / "tensorboard" / "sweep-a"
    owners = {layout.owner(key) for key in places if not key.startswith("students")}
    assert owners == {"sweep-a"}


def test_other_sweeps_of_the_same_storage(store: ObjectStore) -> None:
    sweep = SweepStore(store, "sweep-a")
    assert sweep.sibling("sweep-b") == SweepStore(store, "sweep-b")
    assert sweep.confirming().sweep_id == "sweep-a-confirm"
    assert sweep.with_patience(0).storage.patience == 0


def test_a_sweeps_place_is_known_without_heavy_libraries() -> None:
    looked = (
        "import sys, orchestrator.storage; print({'torch', 'ray', 'optuna', 'boto3', 'pandas'} & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", looked], check=True, capture_output=True, text=True).stdout
    assert found == "set()\n"
