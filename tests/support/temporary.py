"""A temporary folder for all that a run of the tests starts, which goes with the run."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_PARENT = 12
"""Characters of the folder in which ours lies. A socket's path has 107 at most; those of Ray lie some 70 below a temporary
folder, and a session may have put one of its own between."""


@contextmanager
def private_temporary_folder() -> Iterator[Path]:
    """Let this process, and those that it starts, put temporary files into a new folder, until the end of a block.

    Sessions of Ray, profiles of browsers, what torch compiles, what killed processes leave: all of it lies in the system's
    temporary folder. pytest's own folders stay where they are, for whoever looks into a failed test.

    A worker of pytest-xdist has its folder in that of the process that started it, which removes what a killed one leaves.
    """
    usual = os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        folder = Path(tempfile.gettempdir(), worker)
        folder.mkdir()
    else:
        folder = Path(tempfile.mkdtemp(prefix="zt", dir=usual if len(usual) <= _LONGEST_PARENT else "/tmp"))
    variables = {"TMPDIR": folder, "RAY_TMPDIR": folder, "TORCHINDUCTOR_CACHE_DIR": folder / "torch"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= {name: str(value) for name, value in variables.items()}
    tempfile.tempdir = None  # asks the environment anew
    try:
        yield folder
    finally:
        _remove(folder)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        tempfile.tempdir = None


def _remove(folder: Path) -> None:
    """Remove a folder into which a dying process may still write a last line."""
    for _ in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(1)
