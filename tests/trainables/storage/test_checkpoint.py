from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainables.errors import CheckpointError
from trainables.storage import checkpoint
from trainables.storage.checkpoint import CheckpointSaver, CheckpointStore, StateCopy, copy_state
from trainables.storage.object_store import ObjectStore

STATE: dict[str, Any] = {
    "network": {"weight": torch.randn(3, 2), "count": torch.tensor(7), "empty": torch.zeros(0)},
    "optimizer": {0: {"step": torch.tensor(2.0)}, 1: {"step": torch.tensor(3.0)}},
    "stream": torch.arange(16, dtype=torch.uint8),
    "counters": {"done": 3, "share": 0.1, "name": "ü", "flag": True},
    "nothing": None,
}


def equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(equal(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, torch.Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    return bool(ours == theirs)


def test_what_is_written_is_read() -> None:
    assert equal(checkpoint.parse(checkpoint.dump(STATE), origin="test"), STATE)
    assert checkpoint.dump(STATE) == checkpoint.dump(STATE)


def test_shared_memory_and_later_changes_do_not_reach_a_checkpoint() -> None:
    weight = torch.zeros(4)
    data = checkpoint.dump({"a": weight, "b": weight[:2], "c": weight.view(2, 2).t()})
    weight += 1
    state = checkpoint.parse(data, origin="test")
    assert not any(part.any() for part in state.values())


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_any_flipped_bit_or_cut_is_noticed(data: st.DataObject) -> None:
    content = bytearray(checkpoint.dump(STATE))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        state = checkpoint.parse(bytes(content), origin="here")
    except CheckpointError as error:
        assert "here" in str(error)
    else:
        assert equal(state, STATE)  # a bit of the header's padding, or of a name that nothing reads


@pytest.mark.parametrize(
    ("version", "remedy"),
    [(4, "format 4; this version reads 3: update zskt"), (1, "format 1; .*give the sweep another --sweep-id")],
)
def test_a_checkpoint_of_another_format_says_what_to_do(
    version: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", version)
    data = checkpoint.dump(STATE)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=remedy):
        checkpoint.parse(data, origin="test")


def test_the_store_keeps_the_newest_two_of_each_trial(store: ObjectStore) -> None:
    checkpoints = CheckpointStore(store)
    for done in (5, 10, 100):
        checkpoints.save("t0001", done, copy_state({"done": done}))
    checkpoints.save("t0002", 1, copy_state({"done": 1}))
    assert checkpoints.load_newest("t0001", warn=print) == {"done": 100}
    assert checkpoints.load_newest("t0002", warn=print) == {"done": 1}
    assert checkpoints.load_newest("t0003", warn=print) is None
    assert store.keys("t0001") == ["t0001/0000000010.safetensors", "t0001/0000000100.safetensors"]


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(store: ObjectStore) -> None:
    checkpoints = CheckpointStore(store)
    for done in (1, 2):
        checkpoints.save("t0001", done, copy_state({"done": done, "weights": torch.ones(3)}))
    newest = "t0001/0000000002.safetensors"
    store.write(newest, store.read(newest)[:-1])
    warnings: list[str] = []
    state = checkpoints.load_newest("t0001", warn=warnings.append)
    assert state is not None
    assert state["done"] == 1
    assert len(warnings) == 1
    assert newest in warnings[0]
    assert "went back to the one before" in warnings[0]


def test_damaged_checkpoints_do_not_crowd_out_those_saved_after_them(store: ObjectStore) -> None:
    checkpoints = CheckpointStore(store)
    for done in (30, 40):
        store.write(f"t0001/{done:010d}.safetensors", b"damaged")
    assert checkpoints.load_newest("t0001", warn=lambda _: None) is None
    checkpoints.save("t0001", 10, copy_state({"done": 10}))
    assert checkpoints.load_newest("t0001", warn=lambda _: None) == {"done": 10}


def test_a_process_that_is_lost_and_goes_on_saving_does_not_keep_the_next_from_its_checkpoint(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = CheckpointStore(store)
    for done in (10, 20):
        checkpoints.save("t0001", done, copy_state({"done": done}))
    read = ObjectStore.read
    moments = iter([30, 40])

    def read_slowly(self: ObjectStore, key: str) -> bytes:
        for done in moments:  # between the list and the first read
            checkpoints.save("t0001", done, copy_state({"done": done}))
        return read(self, key)

    monkeypatch.setattr(ObjectStore, "read", read_slowly)
    assert checkpoints.load_newest("t0001", warn=lambda _: None) == {"done": 40}


class SlowStore(CheckpointStore):
    """Writes when it is told to."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.may_write = threading.Event()
        self.begun: list[int] = []

    def save(self, trial_id: str, done: int, state: StateCopy) -> None:
        self.begun.append(done)
        assert self.may_write.wait(10)
        super().save(trial_id, done, state)


def test_a_checkpoint_is_written_while_training_goes_on_and_holds_the_moment_it_was_taken(store: ObjectStore) -> None:
    slow = SlowStore(store)
    saver = CheckpointSaver(slow, "t0001")
    weights = torch.ones(3)
    saver.save(1, {"weights": weights})
    weights += 1  # training goes on before anything is written
    assert not store.keys("t0001")
    slow.may_write.set()
    saver.wait()
    state = slow.load_newest("t0001", warn=lambda line: None)
    assert state is not None
    assert torch.equal(state["weights"], torch.ones(3))


def test_two_checkpoints_are_never_written_at_once(store: ObjectStore) -> None:
    slow = SlowStore(store)
    saver = CheckpointSaver(slow, "t0001")
    saver.save(1, {})
    second = threading.Thread(target=saver.save, args=(2, {}))
    second.start()
    second.join(0.2)
    assert second.is_alive()  # waits for the first
    assert slow.begun == [1]
    slow.may_write.set()
    second.join(10)
    saver.wait()
    assert slow.begun == [1, 2]


def test_a_failure_costs_one_checkpoint_and_not_the_next(store: ObjectStore) -> None:
    class FailingOnce(CheckpointStore):
        failed = False

        def save(self, trial_id: str, done: int, state: StateCopy) -> None:
            if not self.failed:
                self.failed = True
                raise OSError("timed out")
            super().save(trial_id, done, state)

    saver = CheckpointSaver(FailingOnce(store), "t0001")
    saver.save(10, {})
    with pytest.raises(OSError, match="timed out"):
        saver.save(20, {})
    saver.wait()
    assert store.keys("t0001") == ["t0001/0000000020.safetensors"]


def test_a_checkpoint_that_could_not_be_written_is_told_to_whoever_comes_next(store: ObjectStore) -> None:
    class FullStore(CheckpointStore):
        def save(self, trial_id: str, done: int, state: StateCopy) -> None:
            raise OSError("no space left")

    saver = CheckpointSaver(FullStore(store), "t0001")
    saver.save(1, {})
    with pytest.raises(OSError, match="no space left"):
        saver.wait()
    saver.wait()  # told once
    saver.close()
