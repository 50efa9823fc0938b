"""A method of training that is not of this project: one module with its config and its training, and a line of METHODS."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

THIRD = '''
from typing import Annotated, Literal

import torch

from trainables.config import SupervisedConfig
from trainables.config.roles import Cost, Names, given, setting
from trainables.training.supervised import SupervisedTrainer


class AveragedConfig(SupervisedConfig):
    """Supervised training of which the mean of all weights is what comes out."""

    method: Annotated[Literal["averaged"], given(cost=Cost.EQUAL, names=Names.NOTHING, inherited=True)] = "averaged"
    decay: Annotated[float, setting(cost=Cost.NONE, inherited=False)] = 0.9
    """Of the mean, at each update."""


class AveragedTrainer(SupervisedTrainer):
    """Keeps a mean beside the student."""

    config: AveragedConfig

    def step(self) -> None:
        before = [parameter.detach().clone() for parameter in self.student.parameters()]
        super().step()
        with torch.no_grad():
            for parameter, old in zip(self.student.parameters(), before, strict=True):
                parameter.lerp_(old, self.config.decay)
'''
"""With its config in the module of the training, so that all tables of fields are made while torch is loaded."""

PROGRAM = """
import json
import torch
from trainables.config.methods import METHODS, Method
METHODS["averaged"] = Method("third:AveragedConfig", "third:AveragedTrainer")
import third
from orchestrator.config import SweepConfig
from orchestrator.results.schema import TRIALS
from tests.support.tiny import make_inputs
from tests.support.supervised import SMALL
from trainables.compute.flops import trial_work
from trainables.profiling.gpu_process import dummy_training
from trainables.profiling.timing import timed_seconds
from trainables.trial_run import TrialRun
settings = {**SMALL, "method": "averaged"}
(config,) = SweepConfig(name="a", trial=settings, objective="cross_entropy").configs()
run = TrialRun.start({"trial_id": "t0000", **settings}, inputs=make_inputs(config))
results = [run.step()]
while not results[-1]["done"]:
    results.append(run.step())
assert type(dummy_training(config, torch.device("cpu"))) is third.AveragedTrainer
print(json.dumps({
    "class": type(run.trial.training).__name__,
    "failure": results[-1].get("failure"),
    "epochs": results[-1].get("epochs"),
    "column": "config_decay" in TRIALS.names,
    "flops": trial_work(config).flops,
    "seconds": timed_seconds(config, cpus=1, gpus=0),
}))
"""


def test_a_third_method_is_one_module_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "third.py").write_text(THIRD)
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["class"], found["failure"]) == ("AveragedTrainer", None)
    assert found["epochs"] > 0 and found["flops"] > 0 and found["seconds"] > 0
    assert found["column"]
