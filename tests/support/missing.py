"""What tests need that a bare machine may lack, how to have it, and what becomes of a run that had to leave tests out.

A test is skipped because a tool, a right or a device is missing, and for no other reason: one that is there and does not
work is an error. The reason of a skip names what is then not tested, as a part of the sentence that the run ends with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.paths import ROOT

ALLOWED_SKIPS = ROOT / "tests" / "allowed_skips.txt"

BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
"""The browser that opens reports."""

_REFUSALS = ("not permitted", "permission denied", "must be superuser")

FULL_DISK = "a full disk (needs root and the right to mount)"
CEPH = "storage on Ceph (apt-get install radosgw ceph-mon ceph-osd ceph-mgr ceph-common)"
HOSTS = "Ray's commands over ssh (apt-get install openssh-server rsync iproute2; needs root and network namespaces)"


def _needs(there: bool, what: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not there, reason=what)


def _can_compile() -> bool:
    """Whether there are a C++ compiler and Python's headers, with which torch makes programs of loops."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return shutil.which(os.environ.get("CXX") or "g++") is not None and headers.exists()


NEEDS_A_BROWSER = _needs(BROWSER is not None, "the report in a browser (apt-get install chromium, or CHROMIUM=PATH)")
NEEDS_A_COMPILER = _needs(_can_compile(), "compiled loops (apt-get install g++ python3-dev)")
NEEDS_A_GPU = _needs(torch.cuda.is_available(), "CUDA (needs a GPU)")
NEEDS_NO_GPU = _needs(not torch.cuda.is_available(), "a machine without a GPU (CUDA_VISIBLE_DEVICES= make test)")
NEEDS_HTTPFS = _needs(
    find_spec("duckdb_extension_httpfs") is not None,
    "DuckDB on s3:// (pip install duckdb-extension-httpfs; it is for Linux on x86-64)",
)


def skip_without(programs: Iterable[str], what: str) -> None:
    """Skip a test for which one of these programs is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(what)


def run_or_skip(command: Sequence[str], what: str) -> None:
    """Run a command for which not everybody has the right; skip a test if the system refuses it."""
    in_english = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, env=in_english, check=False)
    if done.returncode and any(refusal in done.stderr.lower() for refusal in _REFUSALS):
        pytest.skip(what)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def tell_skips(session: pytest.Session) -> None:
    """End a run with a sentence on what it has not tested, and fail it in CI.

    Where ``CI=true``, each skipped test must be named in ``allowed_skips.txt``. Called when all else is printed; of several
    processes of pytest only the first has a terminal, and knows of the others' tests.
    """
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    reasons = {report.nodeid: _reason(report) for report in reporter.stats.get("skipped", [])}
    if not reasons:
        return
    reporter.write_line(f"Not tested here: {', '.join(sorted(set(reasons.values())))}.", yellow=True)
    refused = refused_skips(reasons, ALLOWED_SKIPS.read_text()) if os.environ.get("CI") == "true" else []
    if refused:
        named = ALLOWED_SKIPS.relative_to(ROOT)
        reporter.write_line(
            f"CI=true, and {named} does not name these tests, which were skipped: {', '.join(refused)}", red=True
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def refused_skips(names: Iterable[str], allowed: str) -> list[str]:
    """Return the tests that no line of a list allows: a pattern, then a reason; lines that begin with ``#`` are comments."""
    patterns = [line.split()[0] for line in allowed.splitlines() if line.strip() and not line.startswith("#")]
    return sorted(name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped, as it was said where that happened."""
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)
