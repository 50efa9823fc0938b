"""One word for one meaning: no prose of the project uses a word that the glossary of CONTRIBUTING.md replaces."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

GLOSSARY = ROOT / "CONTRIBUTING.md"
FOLDERS = ("trainables", "search_spaces", "orchestrator", "cluster", "benchmarks", "tests", "docs")

ALLOWED = {
    "benchmarks/speed/growth.py": {"searcher": "Ray Tune's class"},
    "orchestrator/search/recovery.py": {"pruned": "Optuna's state of a trial"},
    "orchestrator/search/sweep_search.py": {"pruned": "Optuna's state of a trial"},
    "tests/trainables/teachers/test_weight_files.py": {"hyper-parameters": "Lightning's key in its checkpoints"},
    "trainables/ray_trainables.py": {"searcher": "Ray Tune's class"},
}
"""Path of a file, then each word that it may use because another project's API has that name, with the name's owner."""


def replaced_words(page: str) -> dict[str, str]:
    """Return each word of the glossary's column *not*, in lower case, with the word to say instead."""
    table = page.partition("\n## Glossary\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return {word.strip().lower(): say for say, _, words in rows[2:] for word in words.split(",") if word.strip()}


def prose_of_markdown(text: str) -> Iterator[str]:
    """Yield the paragraphs of a page without its code."""
    without_blocks = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.split(r"\n\s*\n", without_blocks)


def prose_of_python(text: str) -> Iterator[str]:
    """Yield comments, docstrings and messages: every string with a space in it."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\s", node.value.strip()):
            yield node.value


def prose_of_yaml(text: str) -> Iterator[str]:
    """Yield comments, and the descriptions of sweeps."""
    yield from re.findall(r"(?:^|\s)#\s.*|^description: .*", text, flags=re.MULTILINE)


PROSE = {".md": prose_of_markdown, ".py": prose_of_python, ".yaml": prose_of_yaml}


def find_replaced(paragraphs: Iterable[str], words: Iterable[str]) -> set[str]:
    """Return those of the words that stand in the prose as whole words, in any case, outside of code in backticks."""
    pattern = re.compile(rf"(?<![\w-])({'|'.join(re.escape(word) for word in words)})(?![\w-])", flags=re.IGNORECASE)
    plain = (" ".join(re.sub(r"(`+).*?\1", "", paragraph, flags=re.DOTALL).split()) for paragraph in paragraphs)
    return {found.lower() for paragraph in plain for found in pattern.findall(paragraph)}


def files() -> Iterator[Path]:
    yield from (path for path in ROOT.iterdir() if path.suffix in PROSE and path != GLOSSARY)
    for folder in FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in PROSE and path != Path(__file__))


def test_no_prose_uses_a_word_that_the_glossary_replaces() -> None:
    words = replaced_words(GLOSSARY.read_text())
    assert len(words) > 20
    found = {
        f"{path.relative_to(ROOT)}: {word!r}: say {words[word]}"
        for path in files()
        for word in find_replaced(PROSE[path.suffix](path.read_text()), words)
        if word not in ALLOWED.get(str(path.relative_to(ROOT)), {})
    }
    assert not found, "\n".join(sorted(found))


def test_exceptions_are_of_files_that_exist_and_words_that_are_replaced() -> None:
    words = replaced_words(GLOSSARY.read_text())
    for name, allowed in ALLOWED.items():
        assert (ROOT / name).is_file(), name
        assert set(allowed) <= set(words), name


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".py", '"""Trains a widget."""\n'),
        (".py", "width = 1  # of the Widget\n"),
        (".py", 'raise ValueError(f"{name} is no widget; allowed: ...")\n'),
        (".md", "A page about a\nwidget.\n"),
        (".yaml", "description: The widget.\n"),
        (".yaml", "name: mine  # a widget\n"),
    ],
)
def test_a_replaced_word_is_found_in_prose(suffix: str, text: str) -> None:
    assert find_replaced(PROSE[suffix](text), ["widget", "gadget"]) == {"widget"}


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".py", 'widget = {"widget": "my_widget"}\n'),
        (".py", '"""Returns ``widget`` and `widget`; widgets and a widget-like thing are other words."""\n'),
        (".md", "`widget`\n\n```sh\nmake widget\n```\n"),
        (".yaml", "widget: widget\n"),
    ],
)
def test_a_name_in_code_is_not_prose(suffix: str, text: str) -> None:
    assert not find_replaced(PROSE[suffix](text), ["widget"])
