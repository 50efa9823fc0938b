"""Start of ``zskt`` and ``run_sweep.py``: checks that the imported packages are this program's own.

A foreign file ``cluster.py`` or package ``orchestrator`` that comes earlier on Python's path would be imported instead, and
the program would end in a stack trace that does not name the cause. This module therefore imports no package of this
program before the check, and has a name that no other program is likely to use.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

PACKAGES = ("cluster", "orchestrator", "search_spaces", "trainables")


def command_line() -> ModuleType:
    """Import the command line.

    Raises:
        SystemExit: a foreign file or package would be imported instead; the message names it.
        ModuleNotFoundError: a package that the command line needs is not installed.
    """
    found = clashes()
    if found:
        sys.exit(f"error: {found[0]}")
    # Only after the check is this certain to be our package.
    from orchestrator import cli

    return cli


def main() -> None:
    """Run the command line ``zskt``; its entry point."""
    command_line().main()


def clashes(before: Sequence[str] = ()) -> list[str]:
    """Return one line for each of this program's packages that a foreign file hides; the line says what to do.

    Args:
        before: Folders that precede Python's path, as in the processes of a Ray cluster.
    """
    here = find_spec("zskt_start")
    if here is None or here.origin is None:  # on a machine without this program
        return []
    home = Path(here.origin).resolve().parent
    return [line for name in PACKAGES if (line := _clash(name, home / name, before))]


def shared_packages() -> list[str]:
    """Return one line for each package of this program into whose folder another distribution was installed."""
    owners = packages_distributions()
    return [
        f"{' and '.join(others)} is installed into the folder of this program's package {name} and has replaced some of its "
        "files: uninstall both, and install zskt in an environment of its own"
        for name in PACKAGES
        if "zskt" in owners.get(name, ()) and (others := sorted({*owners[name]} - {"zskt"}))
    ]


def _clash(name: str, ours: Path, before: Sequence[str]) -> str:
    """Describe the foreign file or folder that hides a package; empty if our package or none is imported."""
    found = _place(_find(name, before))
    if found is None or found == ours:
        return ""
    owner = _owner(name, found)
    remedy = (
        f"uninstall {owner}, to which it belongs, or install zskt in an environment of its own"
        if owner
        else f"rename it, or keep {found.parent} off Python's path (PYTHONPATH, and the folder in which the command starts)"
    )
    return f"{found} hides the package {name} of this program ({ours}): {remedy}"


def _find(name: str, before: Sequence[str]) -> ModuleSpec | None:
    """Find the module that a new process would import under a name."""
    # An editable installation is found by a finder of its own, which is asked last.
    return PathFinder.find_spec(name, [*before, *sys.path]) or find_spec(name)


def _place(spec: ModuleSpec | None) -> Path | None:
    """Return the folder of a package or the file of a module; None if the spec has neither."""
    if spec is None:
        return None
    folders = spec.submodule_search_locations
    place = spec.origin if folders is None else next(iter(folders), None)
    return None if place is None else Path(place).resolve()


def _owner(name: str, place: Path) -> str:
    """Return the distribution that installed a module at this place; empty for a file of the user's."""
    for owner in packages_distributions().get(name, ()):
        known = distribution(owner)
        if any(Path(str(known.locate_file(path))).resolve() == place for path in (name, f"{name}.py")):
            return owner
    return ""
