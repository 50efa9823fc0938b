"""A trial from its settings to its result."""

from __future__ import annotations

from tests.support.tiny import make_inputs
from trainables.config import SupervisedConfig, ZeroShotConfig
from trainables.training.protocol import Training
from trainables.trial import RunningTrial, TrialStorage
from trainables.trial_run import TrialRun


def run(
    config: ZeroShotConfig | SupervisedConfig, storage: TrialStorage, trial_id: str = "t0000"
) -> tuple[Training, dict[str, object]]:
    settings = {"trial_id": trial_id, "case": "a", **config.model_dump()}
    trial_run = TrialRun.start(settings, inputs=make_inputs(config), storage=storage)
    assert isinstance(trial_run.trial, RunningTrial)
    while not (result := trial_run.step())["done"]:
        pass
    return trial_run.trial.training, result
