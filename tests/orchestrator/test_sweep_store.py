from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from orchestrator.storage import SweepStore, layout
from trainables.storage.object_store import ObjectStore


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
