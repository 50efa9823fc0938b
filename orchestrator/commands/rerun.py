"""Running one trial of a sweep again, to compare its numbers, and the shell command that runs the best trial again."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from orchestrator.analysis.leaderboard import Leaderboard
from orchestrator.config import RUN_FIELDS, SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.inputs.files import fetch_dataset
from orchestrator.inputs.own_code import code_of_trial
from orchestrator.results import SweepResults, TrialRecord, TrialState
from orchestrator.results.schema import MACHINE_COLUMNS
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.storage import SweepStore, open_storage
from trainables.errors import TrialError
from trainables.metrics import METRICS, TIMES
from trainables.system.own_files import checksums


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """A trial's result row of the original run (``then``) and of the rerun (``now``; None if it was interrupted)."""

    sweep_id: str
    then: TrialRecord
    now: TrialRecord | None

    @property
    def different(self) -> dict[str, tuple[Any, Any]]:
        """What differs, with the values then and now: the state if one of the runs failed, else metrics.

        Times, and metrics that were not measured in the original run, are left out.
        """
        assert self.now is not None
        states = self.then.state, self.now.state
        if TrialState.FAILED in states:
            return {} if states[0] == states[1] else {"state": states}
        then, now = self.then.metrics, self.now.metrics
        names = [m.name for m in METRICS if m.name not in TIMES and then[m.name] is not None]
        return {name: (then[name], now[name]) for name in names if then[name] != now[name]}

    @property
    def other_machine(self) -> dict[str, tuple[Any, Any]]:
        """Columns on which exact numbers depend (``MACHINE_COLUMNS``) and that differ, with their values then and now."""
        assert self.now is not None
        both = {name: (getattr(self.then, name), getattr(self.now, name)) for name in MACHINE_COLUMNS}
        return {name: (then, now) for name, (then, now) in both.items() if then != now}

    def conclusion(self) -> str:
        """Return a few lines that say whether the rerun gave the same outcome, and what differs."""
        assert self.now is not None
        if TrialState.FAILED in {self.then.state, self.now.state}:
            return self._of_failures(self.now)
        if not self.different:
            stopped = self.then.state is TrialState.STOPPED_EARLY
            unit = self.then.config.unit
            up_to = f", up to where it was stopped ({self.then.done} {unit.replace('_', ' ')})" if stopped else ""
            return f"All numbers are the same, bit for bit{up_to}."
        lines = [f"{name}: {then} then, {now} now" for name, (then, now) in self.different.items()]
        causes = ", ".join(f"{name} {then} then, {now} now" for name, (then, now) in self.other_machine.items())
        said = f"\nOn a CPU, numbers are equal bit for bit only under equal conditions; here {causes}" if causes else ""
        return "Different numbers:\n  " + "\n  ".join(lines) + said

    def _of_failures(self, now: TrialRecord) -> str:
        if self.then.state is not TrialState.FAILED:
            return f"It failed this time: {now.error}"
        if now.state is not TrialState.FAILED:
            return f"It did not fail again: {now.state.word} now, but then: {self.then.error}"
        same = self.then.error == now.error
        return f"It failed again: {now.error}" + ("" if same else f"\nThen: {self.then.error}")


def rerun_sweep(board: Leaderboard, trial_id: str) -> tuple[str, SweepConfig, TrialRecord]:
    """Return the id and the config of a sweep that runs one trial again, and the trial's result row.

    Raises:
        ConfigError: there is no such trial, or it cannot be run again.
    """
    sweep = board.sweep
    row = next((row for row in board.rows if row.trial_id == trial_id), None)
    if row is None:
        known = ", ".join(sorted(row.trial_id for row in board.rows)[:10])
        raise ConfigError(f"{board.sweep_id} has no ended trial {trial_id}; ended trials: {known or 'none'}")
    parent = row.settings["initial_trial"]
    if parent is not None:
        raise ConfigError(f"{trial_id} started from the state of {parent}, so it cannot run alone")
    if sweep.scale != 1:
        raise ConfigError(
            f"{board.sweep_id} ran at scale {sweep.scale:g}, with teachers of that scale; run the same command with another "
            "--sweep-id instead"
        )
    settings = _settings(row)
    alone = SweepConfig.model_validate(
        {field: getattr(sweep, field) for field in ("teacher_recipe", *RUN_FIELDS)}
        | {
            "name": "rerun",
            "description": f"{board.sweep_id}/{trial_id} again.",
            "seeds": [settings.pop("seed")],
            "cases": {trial_id: settings},
        }
    )
    return f"{board.sweep_id}-{trial_id}", alone, row


def _settings(row: TrialRecord) -> dict[str, Any]:
    """Return all settings of a trial. Fields of later versions have their defaults, which match how the trial ran.

    Raises:
        ConfigError: no settings of this version match how the trial ran.
    """
    config = row.config
    if "numerics" in type(config).model_fields and row.settings["numerics"] is None:
        raise ConfigError(
            f"{row.trial_id} ran in an earlier version, which computed as numerics=exact does: run its sweep again with "
            "--set numerics=exact and another --sweep-id instead"
        )
    return config.model_dump()


def rerun(
    board: Leaderboard,
    trial_id: str,
    *,
    backend: BackendChoice | None = None,
    console: Console | None = None,
    trusted_code: Collection[str] = (),
) -> Rerun:
    """Run one trial of a sweep again, and compare it with the original.

    A trial that was stopped early runs up to where it was stopped.

    Args:
        board: Leaderboard of the sweep.
        trial_id: Id of the trial.
        backend: See ``run_sweep``.
        console: See ``run_sweep``.
        trusted_code: See ``run_sweep``.

    Raises:
        ConfigError: see ``rerun_sweep``. ``run_sweep`` lists further errors.
    """
    sweep_id, sweep, then = rerun_sweep(board, trial_id)
    sweep_id += _other_code(board, then)
    unit = then.config.unit
    until = {unit: then.metrics[unit]} if then.state is TrialState.STOPPED_EARLY else None
    finished = run_sweep(
        sweep, sweep_id=sweep_id, backend=backend, console=console, until=until, trusted_code=trusted_code
    ).finished
    rows = SweepResults(SweepStore(open_storage(sweep.storage), sweep_id)).trials()
    newest = rows[-1] if finished else None  # a failed trial runs anew each time, and adds a row
    return Rerun(sweep_id=sweep_id, then=then, now=newest)


def _other_code(board: Leaderboard, row: TrialRecord) -> str:
    """Return a suffix for the id of a rerun with other files of the user's own than the original trial ran.

    The suffix keeps the results of different files apart. It is empty if the files are the same.
    """
    now = checksums(row.settings)
    then = code_of_trial(SweepStore(open_storage(board.sweep.storage), board.sweep_id), row.trial_id)
    if all(then.get(name, sha256) == sha256 for name, sha256 in now.items()):
        return ""
    return "-" + hashlib.sha256(json.dumps(now).encode()).hexdigest()[:8]


def rerun_command(board: Leaderboard, program: str, preset_or_file: str) -> str | None:
    """Return a shell command that runs only the best trial of a search again, with the same numbers.

    Args:
        board: Leaderboard of the search.
        program: Program to call, for example ``python run_sweep.py``.
        preset_or_file: Preset or file of the sweep; the command sets only fields that differ from it.

    Returns:
        The command; None if there is no best trial, if it cannot run alone, or if the file is valid only with flags that
        are not known here.
    """
    best, sweep = board.best, board.sweep
    if best is None or best.settings["initial_trial"]:
        return None
    try:
        preset = load_sweep(preset_or_file, flags={"num_trials": 1}, fetch=fetch_dataset)
    except (ConfigError, TrialError):
        return None
    words = [preset_or_file, "--num-trials", "1", "--sweep-id", f"{board.sweep_id}-{best.trial_id}"]
    for flag, ours, theirs in (
        ("--storage", sweep.storage.uri, preset.storage.uri),
        ("--objective", sweep.objective, preset.objective),
        ("--data-root", sweep.data_root, preset.data_root),
        ("--cpus", sweep.resources.cpu, preset.resources.cpu),  # exact numbers depend on the number of threads
        ("--gpus", sweep.resources.gpu, preset.resources.gpu),
    ):
        if ours != theirs:
            words += [flag, str(ours)]
    unchanged = preset.trial_config({})
    for name in type(unchanged).model_fields:
        value = best.settings[name]
        fixed_by_flag = name in sweep.trial and name not in preset.trial
        if name in board.searched or fixed_by_flag or value != getattr(unchanged, name):
            words += ["--set", f"{name}={'none' if value is None else value}"]
    return f"{program} {shlex.join(words)}"
