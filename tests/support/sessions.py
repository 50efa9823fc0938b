"""A session without Ray, told of events one by one."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from optuna.trial import TrialState
from rich.console import Console

from orchestrator.config import SweepConfig
from orchestrator.monitor.live import Progress
from orchestrator.results import ResultWriter, read_trials
from orchestrator.run.callbacks.recorder import SweepRecorder
from orchestrator.run.tune import TuneCallback
from orchestrator.search.study import open_study
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.storage import SweepStore
from search_spaces import resolve_space
from tests.support.rows import report
from tests.support.searches import suggest
from tests.support.tiny import make_inputs, tiny_settings
from trainables.storage.object_store import ObjectStore

SPACE = {"temperature": {"type": "float", "low": 1, "high": 4}}
SWEEP = SweepConfig(name="test", trial=tiny_settings(), space=SPACE, num_trials=3)


class Session:
    """A driver's parts on one storage."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.study = open_study(SweepStore(store, "sweep-a"), modes=["max"])
        self.search = SweepSearch(self.study, SWEEP, resolve_space(SPACE), sweep_id="sweep-a")
        self.writer = ResultWriter(SweepStore(store, "sweep-a"))
        self.out = io.StringIO()
        progress = Progress(
            console=Console(file=self.out, width=200),
            sweep=SWEEP,
            searched=["temperature"],
            num_trials=lambda: 3,
        )
        recorder = SweepRecorder(
            sweep=SWEEP,
            writer=self.writer,
            search=self.search,
            inputs=make_inputs(*SWEEP.configs()),
            progress=progress,
        )
        self.recorder = TuneCallback([recorder])

    def start(self) -> Any:
        trial: Any = SimpleNamespace(
            config=suggest(self.search),
            error_file=None,
            pickled_error_file=None,
            trial_id="tune's id",
            run_metadata=SimpleNamespace(num_failures=0),
        )
        self.recorder.on_trial_start(0, [], trial)
        return trial

    def report(self, trial: Any, done: int, **changes: Any) -> None:
        result = report(trial.config["trial_id"], done, **changes)
        del result["reported_at"]
        result["allocation"] = {"node_id": "", "cpus": 1, "gpus": 0, "seconds": 1.0}
        self.recorder.on_trial_result(0, [], trial, result)

    def states(self) -> list[TrialState]:
        return [trial.state for trial in open_study(SweepStore(self.store, "sweep-a"), modes=["max"]).trials]

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = read_trials(self.store, "sweep-a").to_pylist()
        return rows
