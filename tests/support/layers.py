"""Reads which modules of a tree import what, and says where that breaks a rule. ``test_layering`` has the rules."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported module or name, as ``package.module``."""

    name: str
    line: int
    end: int
    """Its last line."""

    inside: bool
    """Whether it waits in a function."""

    typing: bool
    """Whether only type checkers see it."""


@dataclass(frozen=True)
class Tree:
    """The modules of some packages below a folder, by their names."""

    root: Path
    packages: tuple[str, ...]
    """Packages, and modules that stand alone."""

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every module's file."""
        paths = [path for name in self.packages for path in (self.root / name).rglob("*.py")]
        paths += [path for name in self.packages if (path := self.root / f"{name}.py").is_file()]
        return {".".join(p.relative_to(self.root).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}

    @cached_property
    def imports(self) -> dict[str, list[Import]]:
        """What each module imports, anywhere in it."""
        return {name: list(self._imports(path)) for name, path in self.files.items()}

    def _imports(self, path: Path) -> Iterator[Import]:
        def look(node: ast.AST, *, inside: bool, typing: bool) -> Iterator[Import]:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(
                        name=alias.name,
                        line=node.lineno,
                        end=node.end_lineno or node.lineno,
                        inside=inside,
                        typing=typing,
                    )
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module, f"{path}:{node.lineno}: relative import"
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    if node.module.partition(".")[0] in self.packages and name not in self.files:
                        name = node.module  # the module counts that has the name
                    yield Import(
                        name=name, line=node.lineno, end=node.end_lineno or node.lineno, inside=inside, typing=typing
                    )
            else:
                inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                typing = typing or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
                for child in ast.iter_child_nodes(node):
                    yield from look(child, inside=inside, typing=typing)

        yield from look(ast.parse(path.read_text()), inside=False, typing=False)

    def loaded(self, module: str) -> set[str]:
        """Everything that is imported once a module is: modules of the tree, and of libraries."""
        found: set[str] = set()
        waiting = [module]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            parent = name.rpartition(".")[0]
            waiting += [parent] if parent else []
            waiting += [each.name for each in self.imports.get(name, ()) if not (each.inside or each.typing)]
        return found - {module}


def unit_of(module: str, units: Collection[str]) -> str | None:
    """The unit that a module is in: itself, or the innermost folder above it that is one; none if there is none."""
    while module and module not in units:
        module = module.rpartition(".")[0]
    return module or None


def uncovered(tree: Tree, order: Sequence[str]) -> list[str]:
    """Modules that no unit covers, and units that no module is in."""
    homeless = [name for name in tree.files if unit_of(name, order) is None]
    return [*homeless, *({*order} - {unit_of(name, order) for name in tree.files})]


def upward(tree: Tree, order: Sequence[str]) -> list[str]:
    """Imports of what comes later in the order, as ``FILE:LINE imports MODULE``."""
    place = {unit: number for number, unit in enumerate(order)}

    def height(module: str) -> int:
        unit = unit_of(module, order)
        return -1 if unit is None else place[unit]

    return [
        f"{tree.files[module].relative_to(tree.root)}:{each.line} imports {each.name}"
        for module, imports in tree.imports.items()
        for each in imports
        if each.name in tree.files and height(each.name) > height(module)
    ]


def strangers(tree: Tree, allowed: Mapping[str, Collection[str]]) -> list[str]:
    """Imports between packages that may not know each other."""
    return [
        f"{tree.files[module].relative_to(tree.root)}:{each.line} imports {each.name}"
        for module, imports in tree.imports.items()
        for each in imports
        if (other := each.name.partition(".")[0]) != (ours := module.partition(".")[0])
        and other in tree.packages
        and other not in allowed[ours]
    ]


def users(tree: Tree, library: str) -> set[str]:
    """Files that import a library, or a part of one such as ``ray.tune``, anywhere in them."""
    return {
        tree.files[module].relative_to(tree.root).as_posix()
        for module, imports in tree.imports.items()
        if any(f"{each.name}.".startswith(f"{library}.") for each in imports if not each.typing)
    }


def loaders(tree: Tree, library: str) -> set[str]:
    """Modules that load a library when they are imported, themselves or by what they import."""
    return {
        module for module in tree.files if any(f"{name}.".startswith(f"{library}.") for name in tree.loaded(module))
    }


def unexplained(tree: Tree) -> list[str]:
    """Imports inside functions without a comment on their lines or the line above, which holds for those that follow."""
    found = []
    for module, imports in tree.imports.items():
        text = tree.files[module].read_text()
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
        blank = {number for number, line in enumerate(text.splitlines(), start=1) if not line.strip()}
        explained: set[int] = set()
        """Last lines of imports that are."""
        for each in sorted((each for each in imports if each.inside and not each.typing), key=lambda each: each.line):
            before = each.line - 1
            before -= before in blank
            if commented & {*range(each.line - 1, each.end + 1)} or before in explained:
                explained.add(each.end)
            else:
                found.append(f"{tree.files[module].relative_to(tree.root)}:{each.line} imports {each.name}")
    return found


def crowded(tree: Tree, most: int) -> list[str]:
    """Folders with more modules beside ``__init__.py`` than that; the root too."""
    folders: dict[Path, int] = {}
    for path in tree.files.values():
        if path.name != "__init__.py":
            folders[path.parent] = folders.get(path.parent, 0) + 1
    return [f"{folder.relative_to(tree.root)}: {count} modules" for folder, count in folders.items() if count > most]


def long_files(tree: Tree, most: int) -> list[str]:
    """Files with more lines than that."""
    lengths = {path.relative_to(tree.root): len(path.read_text().splitlines()) for path in tree.files.values()}
    return [f"{path}: {length} lines" for path, length in lengths.items() if length > most]
