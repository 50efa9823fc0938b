"""The Trainable without a session of Ray: it can be built, stepped, saved and restored in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ray.tune import PlacementGroupFactory
from ray.tune.result import DONE as TUNES_DONE

from tests.support.prepared import Prepared
from tests.support.trial_runs import config, numbers, same
from trainables.ray_trainables import TrialTrainable
from trainables.trial_result import DONE

pytestmark = pytest.mark.usefixtures("trainables_folder")


def weights(trainable: TrialTrainable) -> dict[str, torch.Tensor]:
    assert trainable.training is not None
    return {key: value.clone() for key, value in trainable.training.student.state_dict().items()}


def test_nothing_is_left_in_the_users_home(trainables_folder: Path) -> None:
    folders = [Path(Prepared(config(key)).logdir) for key in ("t0001", "t0002")]
    assert {folder.parent for folder in folders} == {trainables_folder}
    assert all(folder.is_dir() for folder in folders)


def test_done_is_said_in_tunes_word() -> None:
    assert DONE == TUNES_DONE


def test_a_process_whose_device_could_not_be_claimed_serves_the_next_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available")

    with monkeypatch.context() as once:
        once.setattr("trainables.trial.claim_device", fail)
        trainable = Prepared(config())
        result = trainable.train()
    assert (result["failure"], result["done"]) == ("RuntimeError: CUDA error: no kernel image is available", True)
    assert trainable.reset(config("t0002"))
    assert numbers(trainable.train()) == numbers(Prepared(config("t0002")).train())


def test_the_next_trial_says_what_the_last_one_could_not(monkeypatch: pytest.MonkeyPatch) -> None:
    trainable = Prepared(config())
    trainable.train()
    assert trainable.trial_run is not None
    trainable.trial_run.notes.append("unread")
    assert trainable.reset(config("t0002"))
    assert trainable.train()["notes"] == ["unread (said by t0001)"]


def test_what_would_fail_again_is_said_and_not_raised() -> None:
    trainable = Prepared(config(student="wrn-10-1"))
    result = trainable.train()
    assert result["done"]
    assert result["failure"].startswith("ValueError: attention_weight=250: the activations")
    assert trainable.reset(config("t0002")), "the process serves the next trial"
    assert trainable.train()["pseudo_batches"] == 2


def test_too_little_memory_is_said_as_what_it_is_and_lets_go_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    trainable = Prepared(config())

    def fail(**_: object) -> None:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."
        )

    monkeypatch.setattr(trainable.training, "advance", fail)
    result = trainable.train()
    assert (result["failure"], result["out_of_memory"]) == ("OutOfMemoryError: CUDA out of memory", True)
    assert result["done"]
    assert trainable.training is None
    assert trainable.reset(config("t0002")), "the process serves the next trial"
    assert trainable.train()["pseudo_batches"] == 2


def test_a_reused_process_starts_its_next_trial_as_a_new_one_would() -> None:
    fresh, reused = Prepared(config("t0002", temperature=2.0)), Prepared(config())
    reused.train()
    assert reused.reset(config("t0002", temperature=2.0))
    assert numbers(reused.train()) == numbers(fresh.train())
    assert same(weights(reused), weights(fresh))


def test_tunes_own_save_and_restore(tmp_path: Path) -> None:
    first, second = Prepared(config()), Prepared(config())
    first.train()
    first.save_checkpoint(str(tmp_path))
    second.load_checkpoint(str(tmp_path))
    assert numbers(first.train()) == numbers(second.train())
    assert same(weights(first), weights(second))


def test_a_gpu_that_is_not_there_means_the_cpu() -> None:
    class AskedForGpu(Prepared):
        trial_resources = PlacementGroupFactory([{"CPU": 2, "GPU": 1}])

    result = AskedForGpu(config()).train()
    torch.set_num_threads(1)
    assert result["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert result["threads"] == 2
    assert torch.cuda.is_available() or "torch finds none" in result["machine_notes"][0]


def test_without_inputs_the_message_says_how_to_give_them() -> None:
    with pytest.raises(ValueError, match="tune.with_parameters"):
        TrialTrainable(config())


def test_tune_can_save_a_trial_that_could_not_begin(tmp_path: Path) -> None:
    """It does so before it lets go of one that is done; an exception would hide why the trial has failed."""
    trainable = Prepared(config(student="wrn-10-1"))
    assert trainable.train()["done"]
    trainable.save(str(tmp_path))
