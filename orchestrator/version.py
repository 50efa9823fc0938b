"""The version of the running code: the installed version, the commit of a checkout, and a hash of the modules."""

from __future__ import annotations

import hashlib
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("cluster", "orchestrator", "search_spaces", "trainables")
_FOLDER = Path(__file__).parents[1]


def package_version() -> str:
    """Return the version of the installed package; ``unknown`` if the package is not installed."""
    try:
        return version("zskt")
    except PackageNotFoundError:
        return "unknown"


def code_hash() -> str:
    """Hash the package's modules and presets as they lie on this machine; machines with equal code have equal hashes.

    A hash, since clusters receive the code without its Git history, and many changes share one version number.
    """
    digest = hashlib.sha256()
    files = [file for name in _PACKAGES for file in (_FOLDER / name).rglob("*.py")]
    for file in sorted([*files, *(_FOLDER / "search_spaces" / "presets").glob("*.yaml")]):
        data = file.read_bytes()
        digest.update(f"{file.relative_to(_FOLDER).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:12]


def code_version() -> str:
    """Return the package's version, in a checkout with its commit, followed by ``+changed`` if files were edited since."""
    ours, folder = package_version(), _FOLDER
    if not (folder / ".git").exists():
        return ours
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty=+changed", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ours
    return f"{ours}+g{commit.stdout.strip()}"
