"""Where ``zskt`` and ``run_sweep.py`` start: with a look at whether the packages that they import are this program's.

A file ``cluster.py`` or a package ``orchestrator`` of somebody else's that comes earlier on Python's path would be imported
instead, and the program would end in a stack trace that does not name it. So this module imports nothing of ours before it
has looked, and has a name that nobody else uses.
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
        SystemExit: it would be somebody else's; the message says what hides it.
        ModuleNotFoundError: something that it needs is not installed.
    """
    found = clashes()
    if found:
        sys.exit(f"error: {found[0]}")
    # Only now is it known to be ours.
    from orchestrator import cli

    return cli


def main() -> None:
    """Entry point of ``zskt``."""
    command_line().main()


def clashes(before: Sequence[str] = ()) -> list[str]:
    """Return a line on each of this program's packages that another file hides, with what to do.

    Args:
        before: Folders that come before Python's path, as in the processes of a Ray cluster.
    """
    here = find_spec("zskt_start")
    if here is None or here.origin is None:  # on a machine without this program
        return []
    home = Path(here.origin).resolve().parent
    return [line for name in PACKAGES if (line := _clash(name, home / name, before))]


def shared_packages() -> list[str]:
    """Return a line on each of this program's packages into whose folder another distribution has been installed as well."""
    owners = packages_distributions()
    return [
        f"{' and '.join(others)} is installed into the folder of this program's package {name}, and has replaced files of "
        "it: uninstall both, and install zskt in an environment of its own"
        for name in PACKAGES
        if "zskt" in owners.get(name, ()) and (others := sorted({*owners[name]} - {"zskt"}))
    ]


def _clash(name: str, ours: Path, before: Sequence[str]) -> str:
    """Say which file or folder is imported as a package, if it is not ours; empty if it is, or there is none."""
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
    """Find what is imported, as a new process would."""
    # An editable installation is found by a finder of its own, which is asked last.
    return PathFinder.find_spec(name, [*before, *sys.path]) or find_spec(name)


def _place(spec: ModuleSpec | None) -> Path | None:
    """Return the folder of a package, or the file of a module; None where there is neither."""
    if spec is None:
        return None
    folders = spec.submodule_search_locations
    place = spec.origin if folders is None else next(iter(folders), None)
    return None if place is None else Path(place).resolve()


def _owner(name: str, place: Path) -> str:
    """Return the distribution that has put something there; empty for a file of the user's."""
    for owner in packages_distributions().get(name, ()):
        known = distribution(owner)
        if any(Path(str(known.locate_file(path))).resolve() == place for path in (name, f"{name}.py")):
            return owner
    return ""
