"""Read-only view of a sweep's study in optuna-dashboard, whose actions that would change the study give an error."""

from __future__ import annotations

from orchestrator.errors import ConfigError
from orchestrator.output import Output
from orchestrator.search.study import watched_storage
from orchestrator.storage import SweepStore


def serve_dashboard(sweep_store: SweepStore, *, port: int, out: Output) -> None:
    """Serve the dashboard of a sweep until Ctrl-C.

    Raises:
        ConfigError: optuna-dashboard is not installed, or the port is taken.
        SweepNotFoundError: the sweep has no study.
    """
    try:
        # Imported here: optuna-dashboard is an optional dependency.
        from optuna_dashboard import run_server
    except ImportError as error:
        raise ConfigError("optuna-dashboard is not installed; pip install 'zskt[dashboard]' brings it") from error
    storage = watched_storage(sweep_store)
    out.say(f"optuna-dashboard of {sweep_store.sweep_id}: http://127.0.0.1:{port} (Ctrl-C ends it)")
    out.say("read only: notes, deletions and the like are refused")
    try:
        run_server(storage, host="127.0.0.1", port=port)
    except OSError as error:
        raise ConfigError(f"--port {port}: {error}") from error
