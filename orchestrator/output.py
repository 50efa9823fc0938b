"""Output of commands for people: lines, warnings and tables, on a terminal or in a file."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, RenderableType

WIDTH_OF_A_FILE = 160
"""Width of tables, in characters, when standard output is a file or a pipe."""


@dataclass(frozen=True)
class Output:
    """Prints on a console.

    Lines are printed unchanged: without markup, since folders, keys and commands may contain square brackets, and without
    line breaks, since users copy them from the terminal.
    """

    console: Console

    def say(self, line: str, *, style: str | None = None) -> None:
        """Print a line."""
        self.console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)

    def warn(self, line: str) -> None:
        """Print a line in yellow."""
        self.say(line, style="yellow")

    def error(self, line: str) -> None:
        """Print a line in red."""
        self.say(line, style="red")

    def table(self, table: RenderableType) -> None:
        """Print a table at the width of the console."""
        self.console.print(table)


def standard_output() -> Output:
    """Return an output on stdout; if that is a file or a pipe, tables are ``WIDTH_OF_A_FILE`` characters wide."""
    console = Console(markup=False)
    return Output(console if console.is_terminal else Console(width=WIDTH_OF_A_FILE, markup=False))


def standard_error() -> Output:
    """Return an output on stderr."""
    return Output(Console(stderr=True))
