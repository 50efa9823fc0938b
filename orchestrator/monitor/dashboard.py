"""Shows a sweep's study in optuna-dashboard, whose buttons that would change it answer with an error."""

from __future__ import annotations

from orchestrator.errors import ConfigError
from orchestrator.output import Output
from orchestrator.search.study import watched_storage
from trainables.storage.object_store import ObjectStore


def serve_dashboard(store: ObjectStore, sweep_id: str, *, port: int, out: Output) -> None:
    """Serve until Ctrl-C.

    Raises:
        ConfigError: optuna-dashboard is not installed, or the port is taken.
        SweepNotFoundError: there is no study of that sweep.
    """
    try:
        from optuna_dashboard import run_server
    except ImportError as error:
        raise ConfigError("optuna-dashboard is not installed; pip install 'zskt[dashboard]' brings it") from error
    storage = watched_storage(store, sweep_id)
    out.say(f"optuna-dashboard of {sweep_id}: http://127.0.0.1:{port} (Ctrl-C ends it)")
    out.say("read only: notes, deletions and the like are refused")
    try:
        run_server(storage, host="127.0.0.1", port=port)
    except OSError as error:
        raise ConfigError(f"--port {port}: {error}") from error
