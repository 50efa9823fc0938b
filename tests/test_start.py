"""What hides one of this program's packages is named in a line, before a stack trace would come."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zskt_start
from cluster.session import HiddenPackageError, ray_session
from orchestrator.commands.doctor import check_packages
from tests.support.paths import ROOT

ZSKT = "import sys, zskt_start; sys.argv[0] = 'zskt'; zskt_start.main()"


def module(folder: Path, name: str) -> Path:
    """A file of the user's."""
    file = folder / f"{name}.py"
    file.write_text("")
    return file


def package(folder: Path, name: str) -> Path:
    """A package as PyPI's ``cluster`` installs it."""
    found = folder / name
    found.mkdir()
    (found / "__init__.py").write_text("from cluster.matrix import Matrix")
    return found


def start(*arguments: str, before: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A command in a process that looks for modules in a folder of the user's first."""
    path = {"PYTHONPATH": os.pathsep.join(map(str, (before, ROOT)))}
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | path)


@pytest.mark.parametrize("name", zskt_start.PACKAGES)
@pytest.mark.parametrize("plant", [module, package])
def test_zskt_names_what_hides_a_package_of_its_own(
    name: str, plant: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    planted = plant(tmp_path, name)
    done = start(sys.executable, "-P", "-c", ZSKT, "presets", before=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {planted} hides the package {name} of this program ({ROOT / name}): rename it, or keep {tmp_path} off "
        "Python's path (PYTHONPATH, and the folder in which the command starts)\n"
    )


def test_run_sweep_alone_names_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "run_sweep.py").write_text((ROOT / "run_sweep.py").read_text())
    planted = module(tmp_path, "orchestrator")
    done = start(sys.executable, str(tmp_path / "run_sweep.py"), "quickstart", before=tmp_path / "nothing")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {planted} hides the package orchestrator of this program")
    assert done.stderr.count("\n") == 1


def test_a_folder_of_that_name_without_modules_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    done = start(sys.executable, "-P", "-c", ZSKT, "presets", before=tmp_path)
    assert done.returncode == 0
    assert "quickstart" in done.stdout


def test_another_distribution_is_named(tmp_path: Path) -> None:
    package(tmp_path, "cluster")
    info = tmp_path / "cluster-1.4.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cluster\nVersion: 1.4.1\n")
    (info / "RECORD").write_text("cluster/__init__.py,,\n")
    done = start(sys.executable, "-P", "-c", ZSKT, "presets", before=tmp_path)
    assert done.stderr.endswith(
        "uninstall cluster, to which it belongs, or install zskt in an environment of its own\n"
    )


def test_no_session_begins_in_a_folder_whose_files_its_processes_would_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = module(tmp_path, "trainables")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HiddenPackageError, match=f"{planted} hides the package trainables"), ray_session("local"):
        pass
    monkeypatch.chdir(ROOT)
    assert zskt_start.clashes([str(ROOT)]) == []


def test_doctor_names_a_distribution_that_shares_a_folder_with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_packages().outcome == "ok"
    owners = {"cluster": ["zskt", "cluster"], "trainables": ["zskt", "zskt"]}
    monkeypatch.setattr(zskt_start, "packages_distributions", lambda: owners)
    found = check_packages()
    assert found.outcome == "problem"
    assert found.text.startswith(
        "cluster is installed into the folder of this program's package cluster and has replaced "
    )
    assert "trainables" not in found.text


ON_A_NODE = """
import os
from cluster.session import ray_session
from orchestrator.commands.node_checks import check_nodes
from orchestrator.commands.node_facts import gather

os.environ["PYTHONPATH"] = os.pathsep.join([PLANTED, os.environ["PYTHONPATH"]])  # of the processes that Ray starts
with ray_session("local"):
    print(check_nodes(gather(None)))
"""


@pytest.mark.ray
@pytest.mark.own_processes
def test_doctor_names_what_hides_a_package_on_a_node(tmp_path: Path) -> None:
    planted = package(tmp_path, "trainables")
    script = ON_A_NODE.replace("PLANTED", repr(str(tmp_path)))
    done = start(sys.executable, "-P", "-c", script, before=tmp_path / "nothing", cwd=tmp_path.parent)
    assert f"{planted} hides the package trainables of this program ({ROOT / 'trainables'}): rename it" in done.stdout
    assert "problem  nodes:" in done.stdout
