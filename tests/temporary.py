"""A temporary folder for all that a run of the tests starts, which goes with the run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_PARENT = 16
"""Characters of the folder in which ours lies. A socket's path has 107 at most; those of Ray lie some 70 below a temporary
folder, and a session may have put one of its own between."""


@contextmanager
def private_temporary_folder() -> Iterator[Path]:
    """Let this process, and those that it starts, put temporary files into a new folder, until the end of a block.

    Sessions of Ray, profiles of browsers, what torch compiles, what killed processes leave: all of it lies in the system's
    temporary folder. pytest's own folders stay where they are, for whoever looks into a failed test.
    """
    usual = os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="zt", dir=usual if len(usual) <= _LONGEST_PARENT else "/tmp"))
    variables = {"TMPDIR": folder, "RAY_TMPDIR": folder, "TORCHINDUCTOR_CACHE_DIR": folder / "torch"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= {name: str(value) for name, value in variables.items()}
    tempfile.tempdir = None  # asks the environment anew
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a process that is dying may write a last line
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        tempfile.tempdir = None
