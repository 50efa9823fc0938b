"""``zskt dashboard``: show a search in optuna-dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import Storage, Verbose, errors_as_messages
from orchestrator.output import standard_output


def dashboard(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of a search.")],
    storage: Storage = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port to serve the page on, on this machine only.")
    ] = 8080,
    verbose: Verbose = False,
) -> None:
    """Show a search in optuna-dashboard.

    The search may be running or have ended. Needs: pip install 'zskt[dashboard]'.

    Example: zskt dashboard quickstart-1a2b3c4d
    """
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.config import SweepConfig
        from orchestrator.monitor.dashboard import serve_dashboard
        from orchestrator.storage import SweepStore, find_storage

        sweep_store = SweepStore(find_storage(storage or SweepConfig.model_fields["storage"].default), sweep_id)
        serve_dashboard(sweep_store, port=port, out=standard_output())
