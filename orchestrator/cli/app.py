"""The ``zskt`` command, and ``run_sweep.py``, which runs ``zskt sweep``.

Only the requested command is imported, and each command defers its slow imports until its arguments have been checked. A
typing error is therefore reported before torch and Ray would have been loaded.
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
  zskt sweep quickstart                    search two settings on digits
  zskt status quickstart-1a2b3c4d --watch  follow it in another terminal
  zskt report quickstart-1a2b3c4d          make one HTML page to share
  zskt confirm --help                      show the options of a command
"""

_GROUPS = {
    "Run trials": {
        "sweep": "orchestrator.cli.run.sweep:sweep",
        "confirm": "orchestrator.cli.run.confirm:confirm",
        "rerun": "orchestrator.cli.run.rerun:rerun",
        "reproduce": "orchestrator.cli.run.reproduce:reproduce",
        "speedrun": "orchestrator.cli.run.speedrun:speedrun",
    },
    "Prepare a sweep": {
        "presets": "orchestrator.cli.look.lists:presets",
        "plan": "orchestrator.cli.look.plan:plan",
        "doctor": "orchestrator.cli.look.doctor:doctor",
        "inspect": "orchestrator.cli.look.inspect:inspect",
        "init": "orchestrator.cli.look.inspect:init",
        "dataset": "orchestrator.cli.files.dataset:dataset",
    },
    "See and manage results": {
        "status": "orchestrator.cli.look.status:status",
        "results": "orchestrator.cli.look.results:results",
        "report": "orchestrator.cli.look.report:report",
        "dashboard": "orchestrator.cli.look.dashboard:dashboard",
        "evaluate": "orchestrator.cli.look.evaluate:evaluate",
        "sweeps": "orchestrator.cli.look.lists:sweeps",
        "delete": "orchestrator.cli.files.delete:delete",
    },
}
"""The commands by the heading that the help shows them under, each as ``MODULE:NAME`` of a function or of a Typer app with
commands of its own."""

_COMMANDS = {name: place for commands in _GROUPS.values() for name, place in commands.items()}


class _Commands(UserDict[str, Any]):
    """The commands by name. Each is imported and built on first use, since building all of them takes 40 ms."""

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
    """The command ``zskt``, which holds all others and lists them by group in its help."""

    def __init__(self, **settings: Any) -> None:
        """Create the group with the commands of this module and the settings of ``app``."""
        super().__init__(**settings | {"commands": _Commands(_COMMANDS)})

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one line of help for each command, under the headings of ``_GROUPS``."""
        width = max(map(len, _COMMANDS))
        for heading, names in _GROUPS.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            with formatter.section(heading):
                formatter.write_dl(
                    [
                        (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                        for name, command in commands.items()
                        if command is not None
                    ]
                )


app = typer.Typer(
    name="zskt",
    cls=_Group,
    callback=lambda: None,  # makes typer build the group, although no command is registered with ``app``
    help=f"Zero-shot knowledge transfer: train a student from a teacher without data.\n\n{_EXAMPLES}",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: frames break error messages in logs
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run ``zskt``."""
    _collect_garbage_less_often()
    app()


def run_sweep_main() -> None:
    """Run ``zskt sweep`` under the name ``run_sweep.py``."""
    _collect_garbage_less_often()
    _Commands(_COMMANDS)["sweep"](prog_name="run_sweep.py")


def _collect_garbage_less_often() -> None:
    """Let Python look for reference cycles every 20,000 new objects instead of every 700.

    Imports create hundreds of thousands of objects that are never freed. With the default threshold, scanning them
    repeatedly takes a tenth of the time of a command that only reads.
    """
    gc.set_threshold(20_000)
