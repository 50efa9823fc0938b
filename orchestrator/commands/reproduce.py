"""The work of ``zskt reproduce``: run the missing trials of a published experiment, and judge the results."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rich.console import Console

from orchestrator.analysis.cases import read_cases
from orchestrator.config import SweepConfig
from orchestrator.output import Output
from orchestrator.reproduction import Judgement
from orchestrator.reproduction.sweep_verdicts import check_target, judge_sweep
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.storage import SweepStore, open_storage


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """The verdicts on a published experiment. ``finished`` is False if the session was interrupted before all trials ran."""

    sweep_id: str
    finished: bool
    judgements: list[Judgement]


def reproduce(
    sweep: SweepConfig,
    *,
    backend: BackendChoice | None = None,
    console: Console | None = None,
    run: bool = True,
    trusted_code: Collection[str] = (),
) -> Reproduction:
    """Run the trials of a published experiment that no sweep on its storage has completed, and judge all trials.

    Args:
        sweep: A preset of cases, with the scale and the seeds that the user chose.
        backend: See ``run_sweep``.
        console: Console for progress.
        run: False runs nothing and judges the existing trials.
        trusted_code: See ``run_sweep``.

    Raises:
        ConfigError: see ``check_target``. ``run_sweep`` lists further errors.
    """
    check_target(sweep)
    sweep_id, finished = sweep.default_sweep_id, True
    sweep_store = SweepStore(open_storage(sweep.storage), sweep_id)
    if run:
        elsewhere = read_cases(sweep_store, sweep).completed_elsewhere
        if elsewhere and console:
            Output(console).say(
                f"{len(elsewhere)} of {sweep.num_trials} trials are taken from other sweeps on this storage"
            )
        finished = run_sweep(
            sweep,
            sweep_id=sweep_id,
            backend=backend,
            console=console,
            completed_elsewhere=elsewhere,
            trusted_code=trusted_code,
        ).finished
    return Reproduction(sweep_id=sweep_id, finished=finished, judgements=judge_sweep(sweep_store, sweep))
