from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from tests.support.tiny import tiny_settings
from trainables.config import AnyTrialConfig, SupervisedConfig, ZeroShotConfig
from trainables.profiling.gpu_process import ColocatedTrial, dummy_training
from trainables.training.distiller import ZeroShotDistiller

SUPERVISED = {"method": "supervised", "dataset": "digits", "student": "lenet", "batch_size": 8, "full_data_epochs": 1}


def zero_shot(**changes: Any) -> ZeroShotConfig:
    return ZeroShotConfig.model_validate(tiny_settings(**changes))


CONFIGS: dict[str, AnyTrialConfig] = {
    "zero-shot": zero_shot(),
    "with all that is measured": zero_shot(data_free_scores=True, transition_images=3),
    "without images": zero_shot(audited=False, validation_fraction=0),
    "supervised": SupervisedConfig.model_validate(SUPERVISED),
    "few images": SupervisedConfig.model_validate(
        SUPERVISED | {"images_per_class": 3, "teacher": "lenet", "initial_student": "a/t0000"}
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_any_trial_is_trained_on_stand_ins_and_measured_as_at_its_end(name: str) -> None:
    colocated = ColocatedTrial(CONFIGS[name], cpus=1)
    beginning = colocated.begin()
    assert beginning.gpu_bytes == 0
    assert beginning.device_name
    assert 0 < beginning.seconds_each < 5
    assert colocated.peak_memory() == 0  # of a GPU


def test_what_is_counted_is_what_was_trained() -> None:
    colocated = ColocatedTrial(zero_shot(), cpus=1)
    colocated.begin()
    training = colocated._training
    assert isinstance(training, ZeroShotDistiller)
    before = training.pseudo_batches
    assert before == 4 + 1  # of which the last one was timed
    start = time.perf_counter()
    rate = colocated.throughput(0.3)
    seconds = time.perf_counter() - start
    assert seconds >= 0.3
    assert rate == pytest.approx((training.pseudo_batches - before) / seconds, rel=0.05)


def test_stand_ins_are_as_large_as_the_data() -> None:
    half = dummy_training(zero_shot(validation_fraction=0.5), torch.device("cpu"))
    none = dummy_training(zero_shot(validation_fraction=0), torch.device("cpu"))
    spec = none.splits.spec
    assert len(none.splits.test) == spec.test_images
    assert len(half.splits.test) == spec.test_images + round(spec.training_images / 2)
    taught = dummy_training(CONFIGS["supervised"], torch.device("cpu"))
    assert len(taught.splits.train) == spec.training_images
