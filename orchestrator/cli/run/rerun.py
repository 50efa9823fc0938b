"""``zskt rerun``: run one trial of a sweep again with the same seed."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import Storage, TrustCode, Verbose, errors_as_messages, read_board_to_run, stop_here
from orchestrator.cli.sweep_options import BackendOptions, with_options
from orchestrator.output import standard_output


@with_options
def rerun(
    *,
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")],
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Id of one of its trials.")],
    storage: Storage = None,
    trust_code: TrustCode = None,
    backend: BackendOptions,
    verbose: Verbose = False,
) -> None:
    """Run one trial again and compare its numbers.

    For a failed trial, compare whether it fails again. The exit code is 1 if the outcome differs.

    Example: zskt rerun quickstart-1a2b3c4d t0009
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.rerun import rerun as run_and_compare

        found = run_and_compare(
            read_board_to_run(sweep_id, storage, trust_code, trial=trial),
            trial,
            backend=backend.choice,
            console=out.console,
            trusted_code=trust_code or (),
        )
        if found.now is not None:
            out.say(found.conclusion())
    if found.now is None:
        stop_here(out)
    if found.different:
        raise typer.Exit(1)
