"""What a command tells a person: lines, warnings and tables on a terminal, or in a file."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, RenderableType

WIDTH_OF_A_FILE = 160
"""Characters of a table's line where standard output is a file or a pipe."""


@dataclass(frozen=True)
class Output:
    """Prints on a console.

    Lines are printed as they are: folders, keys and commands may hold square brackets, and are copied from the terminal, so
    that no line is broken.
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
        """Print a table, as wide as the console."""
        self.console.print(table)


def standard_output() -> Output:
    """Return standard output; where that is a file or a pipe, tables may be wide."""
    console = Console(markup=False)
    return Output(console if console.is_terminal else Console(width=WIDTH_OF_A_FILE, markup=False))


def standard_error() -> Output:
    """Return standard error."""
    return Output(Console(stderr=True))
