from __future__ import annotations

import math
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from orchestrator.run.callbacks.tensorboard import TensorBoardWriter
from orchestrator.search.trial_queue import SweepTrial
from orchestrator.storage import SweepStore, find_storage
from tests.support.tiny import tiny_settings
from trainables.storage.object_store import ObjectStore


def scalars(file: Path) -> list[tuple[str, int, float]]:
    """What a file of events holds, by its format: length (8 bytes), its checksum (4), the event, its checksum (4)."""
    data, found = file.read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        data = data[16 + length :]
    return found


def test_each_trial_is_a_run_with_a_curve_for_each_metric(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    trial = SweepTrial(key="t0003", settings=tiny_settings())
    for done, accuracy in ((2, 0.25), (4, 0.5)):
        result = {"pseudo_batches": done, "validation_accuracy": accuracy, "divergence": math.nan, "diverged": False}
        writer.on_trial_report(trial, result)
    writer.on_trial_end(trial)
    (file,) = (tmp_path / "t0003").iterdir()
    found = scalars(file)
    assert [(step, value) for tag, step, value in found if tag == "validation_accuracy"] == [(2, 0.25), (4, 0.5)]
    assert "divergence" not in {tag for tag, _, _ in found}, "not a number"


def test_files_lie_beside_the_results_where_these_are_on_this_machine(store: ObjectStore) -> None:
    assert SweepStore(store, "sweep-a").tensorboard_folder == Path(store.root) / "tensorboard" / "sweep-a"
    elsewhere = find_storage("s3://bucket/prefix")
    assert SweepStore(elsewhere, "sweep-a").tensorboard_folder == Path("tensorboard/sweep-a")
