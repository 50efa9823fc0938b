"""Holds the documentation to the code: commands run, links resolve, everything public is described."""

from __future__ import annotations

import ast
import inspect
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from typer.core import TyperGroup
from typer.testing import CliRunner

import search_spaces
import trainables
from orchestrator.cli import app
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.search.space import infer_domains
from orchestrator.storage import find_storage
from search_spaces import resolve_space
from tests.support.synthetic import write_search
from trainables.config import shared_fields
from trainables.images.load import load_dataset
from trainables.networks import check_network

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def text_of(*pages: str) -> str:
    return "\n".join((ROOT / page).read_text() for page in pages)


def fenced(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_reference_is_what_the_code_says() -> None:
    make = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    assert (ROOT / "docs" / "reference.md").read_text() == make["page"](), "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        linked = page if not file else page.parent / file
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_pages_are_valid(page: Path) -> None:
    """Each documented command is parsed as its program would, down to the fields and values of --set."""
    for block in [*fenced(page, ""), *fenced(page, "sh")]:
        for line in block.splitlines():
            if not line.startswith(("python ", "zskt ", "make ")):
                continue
            words = shlex.split(line, comments=True)
            if words[:2] == ["python", "run_sweep.py"] or words[:2] == ["zskt", "sweep"]:
                check_sweep_arguments(words[2:])
            elif words[:1] == ["zskt"] and len(words) > 1 and words[1].isalpha():
                check_command(words[1:])
            elif words[1:2] == ["-m"] and words[2].startswith("benchmarks."):
                check_benchmark(words[2], words[3:])
            elif words[:1] == ["make"]:
                assert re.search(rf"^{words[1]}:", text_of("Makefile"), flags=re.MULTILINE), line


def check_command(words: list[str]) -> None:
    """Parsed down to its options; what stands in capitals is the reader's to fill in."""
    command: Any = typer.main.get_group(app)
    while isinstance(command, TyperGroup):
        command = command.commands[words.pop(0)]
    command.make_context("zskt", list(words))
    if command.name in {"reproduce", "plan"} and not words[0].isupper():
        load_sweep(words[0])


def check_benchmark(module: str, words: list[str]) -> None:
    """Its options are declared; running it takes minutes."""
    place = ROOT / module.replace(".", "/")
    declared = (place / "__main__.py" if place.is_dir() else place.with_suffix(".py")).read_text()
    for option in (word for word in words if word.startswith("--")):
        assert f'"{option}"' in declared, (module, option)


def check_sweep_arguments(words: list[str]) -> None:
    if words[0].startswith("PRESET"):
        return
    command = typer.main.get_group(app).commands["sweep"]
    context = command.make_context("sweep", list(words))
    preset = context.params["preset_or_file"]
    if preset in search_spaces.preset_names():
        flags = {name: context.params[name] for name in ("objective", "num_trials")}
        load_sweep(preset, flags=flags, assignments=context.params["assignments"] or ())


def commands_that_read() -> list[str]:
    """Documented commands that look at sweeps on this machine, each once, as they are typed."""
    lines = [line for page in PAGES for block in fenced(page, "sh") for line in block.splitlines()]
    pattern = r"zskt (results|report|status|sweeps|presets)\b"
    return sorted({line.partition("#")[0].strip() for line in lines if re.match(pattern, line) and "://" not in line})


def test_commands_that_read_do_what_the_docs_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = commands_that_read()
    assert {command.split()[1] for command in commands} == {"presets", "report", "results", "status"}
    monkeypatch.chdir(tmp_path)
    for sweep_id in {word for command in commands for word in command.split() if re.search(r"-[0-9a-f]{8}$", word)}:
        write_search(find_storage("./runs"), sweep_id, trials=6)
    for command in commands:
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, (command, result.output)
        assert result.output
    assert (tmp_path / "report.html").stat().st_size > 10**6


def test_the_sweeps_shown_in_the_docs_are_some(tmp_path: Path) -> None:
    examples = fenced(ROOT / "docs" / "sweeps.md", "yaml")
    [front] = [
        SweepConfig.model_validate({"name": "part", **part})
        for part in map(yaml.safe_load, examples)
        if "constraints" in part and "space" not in part
    ]
    loaded = []
    for example in (example for example in examples if "name" in yaml.safe_load(example)):
        (tmp_path / "mine.yaml").write_text(example)
        loaded.append(load_sweep(str(tmp_path / "mine.yaml")))
    search, extended, cases = loaded
    infer_domains(resolve_space(search.space), search, forbidden=shared_fields())
    assert extended.space == load_sweep("quickstart").space
    assert list(front.directions) == ["validation_accuracy", "training_flops"]
    assert len(cases.configs()) == 9


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_parts_of_sweeps_and_clusters_shown_in_the_docs_are_valid(page: Path) -> None:
    for example in fenced(page, "yaml"):
        part = yaml.safe_load(example)
        if "file_mounts" in part:
            validate_config(prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text()) | part))
            continue
        if "extends" in part:
            continue  # whole files: test_the_sweeps_shown_in_the_docs_are_some
        assert "name" not in part or part.get("space") or part.get("cases"), "a whole sweep of nothing"
        sweep = SweepConfig.model_validate({"name": "part", **part})
        assert sweep.configs()


def test_the_data_set_shown_in_the_docs_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = [block for block in fenced(ROOT / "docs" / "sweeps.md", "python") if "DatasetSpec(" in block]
    names: dict[str, Any] = {}
    exec(example, names)
    spec = names["BIRDS"]
    for split, count in (("train", spec.training_images), ("test", spec.test_images)):
        images, labels = np.zeros((count, *spec.image_size, 3), np.uint8), np.arange(count) % spec.num_classes
        np.savez(tmp_path / f"birds-{split}.npz", images=images, labels=labels)
    monkeypatch.setattr("trainables.config.datasets._own_spec", lambda name, content: spec)
    splits = load_dataset("birds", data_root=tmp_path)
    assert splits.test.images.shape == (spec.test_images, 3, *spec.image_size)


def test_the_network_shown_in_the_docs_is_one(tmp_path: Path) -> None:
    [example] = [block for block in fenced(ROOT / "docs" / "sweeps.md", "python") if "make_teacher" in block]
    (tmp_path / "my_nets.py").write_text(example)
    check_network(f"{tmp_path / 'my_nets.py'}:make_teacher", num_classes=10, channels=1, image_size=(28, 28))


def test_every_preset_is_in_the_tables_of_reproduction() -> None:
    page = text_of("docs/reproduction.md")
    for name in search_spaces.preset_names():
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", page), name


def test_tests_named_in_the_docs_exist() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text_of("docs/reliability.md", "docs/report.md", "CONTRIBUTING.md")):
        assert f"def {name}(" in tests, name


def test_files_named_in_the_docs_exist() -> None:
    patches = (ROOT / "benchmarks" / "data" / "recipes").glob("*.patch")
    added = {name for patch in patches for name in re.findall(r"^\+\+\+ b/(.+)$", patch.read_text(), re.MULTILINE)}
    for page in PAGES:
        for name in re.findall(
            r"`((?:trainables|search_spaces|orchestrator|cluster|tests|benchmarks|docs)/[\w./]*)`", page.read_text()
        ):
            assert (ROOT / name).exists() or name in added, f"{page.name}: {name}"


def every_command(group: TyperGroup, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for word, command in group.commands.items():
        called = (*words, word)
        found += every_command(command, called) if isinstance(command, TyperGroup) else [called]
    return found


@pytest.mark.parametrize("words", every_command(typer.main.get_group(app)), ids=" ".join)
def test_each_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert f"Example: zskt {' '.join(words)}" in result.output


def test_every_public_name_is_documented_and_importable() -> None:
    for name in trainables.__all__:
        assert inspect.getdoc(getattr(trainables, name)), name
    for module in ("orchestrator.results", "search_spaces", "trainables.networks", "trainables.evaluation"):
        for name in import_module(module).__all__:
            assert getattr(import_module(module), name) is not None, name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        trainables.nothing  # noqa: B018


def test_nothing_names_a_machine_or_an_index() -> None:
    # Locked versions come from wherever pip is told to look.
    for line in text_of("constraints.txt").splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line


def literals(pattern: str) -> list[str]:
    """Every text in the code, an f-string with ``...`` for its values, adjacent ones joined as Python does."""
    found = []
    for path in ROOT.glob(pattern):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_troubleshooting_quotes_what_the_code_says() -> None:
    code = (
        "run_sweep.py",
        "zskt_start.py",
        *(f"{folder}/**/*.py" for folder in ("orchestrator", "trainables", "cluster")),
    )
    said = [text for pattern in code for text in literals(pattern)]
    headings = re.findall(r"^### `(.*)`$", text_of("docs/troubleshooting.md"), flags=re.MULTILINE)
    assert len(headings) > 20
    for heading in headings:
        pattern = ".*".join(re.escape(part.strip()) for part in heading.split("..."))
        assert any(re.search(pattern, text, flags=re.DOTALL) for text in said), heading


def python_bounds() -> tuple[str, str]:
    """The first and the last version of Python that pip lets the package be installed on, as ``3.11``."""
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    first, beyond = re.findall(r"3\.(\d+)", project["requires-python"])
    return f"3.{first}", f"3.{int(beyond) - 1}"


def test_versions_of_python_are_named_as_pip_has_them() -> None:
    first, last = python_bounds()
    for page in [*PAGES, ROOT / "Makefile", ROOT / "cluster" / "local.yaml"]:
        for named in re.findall(r"Python (3\.\d+(?: \w+ [\w.]*\w)?)", page.read_text()):
            assert named == f"{first} to {last}", page.name


@pytest.mark.parametrize(("minor", "fits"), [(10, False), (11, True), (13, True), (14, False)])
def test_make_refuses_a_python_that_pip_would_refuse(minor: int, fits: bool, tmp_path: Path) -> None:
    pretender = tmp_path / "python"
    code = f"import sys; sys.version_info = (3, {minor}, 2, 'final', 0); exec(sys.argv[1])"
    pretender.write_text(
        f'#!/bin/sh\n[ "$1" = -m ] && mkdir -p .venv/bin && exit\nexec {sys.executable} -c "{code}" "$2"\n'
    )
    pretender.chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    command = ["make", ".venv/bin/python", f"PYTHON={pretender}"]
    # As a user would, where this suite itself may run under make.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert (made.returncode == 0) == (tmp_path / ".venv").exists() == fits, made
    first, last = python_bounds()
    assert fits or made.stdout.startswith(f"zskt needs Python {first} to {last}; name one with: make PYTHON=")


def test_every_page_is_in_the_sites_navigation() -> None:
    named = set(re.findall(r"[\w-]+\.md", text_of("mkdocs.yml")))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    # In a process of its own: mkdocs and its plugins warn of themselves when they are imported.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in (tmp_path / "site").glob("*.html")}


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == tomllib.loads(text_of("pyproject.toml"))["project"]["version"]
