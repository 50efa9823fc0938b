"""The ``zskt`` command, and ``run_sweep.py``, which is ``zskt sweep``.

Heavy imports wait until the arguments are known to be right: a typing error is answered in a fraction of a second.
"""

from __future__ import annotations

import typer

from orchestrator.cli.files.dataset import dataset
from orchestrator.cli.files.delete import delete
from orchestrator.cli.look.dashboard import dashboard
from orchestrator.cli.look.doctor import doctor
from orchestrator.cli.look.evaluate import evaluate
from orchestrator.cli.look.lists import presets, sweeps
from orchestrator.cli.look.plan import plan
from orchestrator.cli.look.report import report
from orchestrator.cli.look.results import results
from orchestrator.cli.look.status import status
from orchestrator.cli.run.confirm import confirm
from orchestrator.cli.run.reproduce import reproduce
from orchestrator.cli.run.rerun import rerun
from orchestrator.cli.run.sweep import sweep

_EXAMPLES = """\b
Examples:
  zskt sweep quickstart                    search step ratio and temperature on digits, in minutes
  zskt status quickstart-1a2b3c4d --watch  how it stands, from another terminal
  zskt report quickstart-1a2b3c4d          one page about it that can be sent
  zskt confirm quickstart-1a2b3c4d         is the best really better? New seeds tell
  zskt reproduce digits-table-1            a published experiment, and a verdict
  zskt --install-completion                let the shell complete commands, presets and options
"""

app = typer.Typer(
    name="zskt",
    help=f"Zero-shot knowledge transfer: sweeps over a cluster, and their results.\n\n{_EXAMPLES}",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: frames break error messages in logs
    pretty_exceptions_enable=False,
)


for _command in (
    sweep,
    reproduce,
    plan,
    confirm,
    rerun,
    results,
    dashboard,
    presets,
    report,
    status,
    sweeps,
    delete,
    doctor,
):
    app.command()(_command)
app.add_typer(evaluate, name="evaluate")
app.add_typer(dataset, name="dataset")


def main() -> None:
    """Entry point of ``zskt``."""
    app()


def run_sweep_main() -> None:
    """Entry point of ``run_sweep.py``: ``zskt sweep`` under the name of that file."""
    alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    alone.command()(sweep)
    alone(prog_name="run_sweep.py")
