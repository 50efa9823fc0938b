"""The ``zskt`` command, and ``run_sweep.py``, which is ``zskt sweep``.

Only the command that is typed is imported, and its heavy imports wait until the arguments are known to be right: a typing
error is answered in a fraction of a second.
"""

from __future__ import annotations

import gc
from collections import UserDict
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

_EXAMPLES = """\b
Examples:
  zskt sweep quickstart                    search step ratio and temperature on digits, in minutes
  zskt inspect teacher.pt --dataset digits what a teacher's file is, and a sweep for it
  zskt status quickstart-1a2b3c4d --watch  how it stands, from another terminal
  zskt report quickstart-1a2b3c4d          one page about it that can be sent
  zskt confirm quickstart-1a2b3c4d         is the best really better? New seeds tell
  zskt reproduce digits-table-1            a published experiment, and a verdict
  zskt --install-completion                let the shell complete commands, presets and options
"""

_COMMANDS = {
    "sweep": "orchestrator.cli.run.sweep:sweep",
    "reproduce": "orchestrator.cli.run.reproduce:reproduce",
    "speedrun": "orchestrator.cli.run.speedrun:speedrun",
    "plan": "orchestrator.cli.look.plan:plan",
    "confirm": "orchestrator.cli.run.confirm:confirm",
    "rerun": "orchestrator.cli.run.rerun:rerun",
    "results": "orchestrator.cli.look.results:results",
    "dashboard": "orchestrator.cli.look.dashboard:dashboard",
    "presets": "orchestrator.cli.look.lists:presets",
    "report": "orchestrator.cli.look.report:report",
    "status": "orchestrator.cli.look.status:status",
    "sweeps": "orchestrator.cli.look.lists:sweeps",
    "delete": "orchestrator.cli.files.delete:delete",
    "doctor": "orchestrator.cli.look.doctor:doctor",
    "inspect": "orchestrator.cli.look.inspect:inspect",
    "init": "orchestrator.cli.look.inspect:init",
    "evaluate": "orchestrator.cli.look.evaluate:evaluate",
    "dataset": "orchestrator.cli.files.dataset:dataset",
}
"""The commands in the order of the help, as ``MODULE:NAME`` of a function or of a Typer app with commands of its own."""


class _Commands(UserDict[str, Any]):
    """The commands by name. One is imported and built when somebody asks for it: all of them take 40 ms."""

    def __getitem__(self, name: str) -> Any:
        """Return the command."""
        module, _, attribute = super().__getitem__(name).partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        alone.command()(found)
        return typer.main.get_command(alone)


class _Group(TyperGroup):
    """``zskt`` itself."""

    def __init__(self, **settings: Any) -> None:
        """Make the group with the commands of this module; the settings are those of ``app``."""
        super().__init__(**settings | {"commands": _Commands(_COMMANDS)})


app = typer.Typer(
    name="zskt",
    cls=_Group,
    callback=lambda: None,  # makes typer build the group, although no command is registered with ``app``
    help=f"Zero-shot knowledge transfer: sweeps over a cluster, and their results.\n\n{_EXAMPLES}",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: frames break error messages in logs
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of ``zskt``."""
    _collect_garbage_less_often()
    app()


def run_sweep_main() -> None:
    """Entry point of ``run_sweep.py``: ``zskt sweep`` under the name of that file."""
    _collect_garbage_less_often()
    _Commands(_COMMANDS)["sweep"](prog_name="run_sweep.py")


def _collect_garbage_less_often() -> None:
    """Let Python look for cycles every 20,000 new objects instead of every 700.

    Importing makes hundreds of thousands that all stay. Looking through them again and again takes a tenth of what a command
    that only reads costs.
    """
    gc.set_threshold(20_000)
