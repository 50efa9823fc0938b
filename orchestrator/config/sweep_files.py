"""Reading the YAML file of a sweep, and the preset or file that it extends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import ConfigError, unknown_name
from search_spaces.presets import preset_names, preset_path

EXTENDS = "extends"
"""Key in a sweep's file that names the preset or file which the file extends."""

_OF_THE_FILE_ITSELF = frozenset({"name", "description"})
"""Fields that a file does not inherit from the file that it extends."""

_WHOLE = frozenset({"sampler", "scheduler"})
"""Blocks that are inherited or replaced as a whole, since their fields depend on the block's ``name``."""


_OF_A_SEARCH = frozenset({"space", "search", "num_trials", "sampler", "scheduler"})
_OF_CASES = frozenset({"cases", "seeds", "only"})
"""Fields of the two kinds of sweep. A search has none of the second, a sweep of cases none of the first."""


def read_sweep_file(preset_or_file: str) -> tuple[Path, dict[str, Any]]:
    """Read the file of a sweep, merged with the file that it extends.

    Args:
        preset_or_file: Name of a preset, or path of a file that ends in .yaml or .yml.

    Returns:
        The file's path, and its fields without ``extends``. A block that both files have, such as ``trial`` or one case,
        is merged field by field; where both set a field, the extending file wins.

    Raises:
        ConfigError: no such preset or file, a file that holds no sweep, or files that extend each other.
    """
    path = _find(preset_or_file)
    return path, _read(path, [path.resolve()])


def _find(preset_or_file: str) -> Path:
    if Path(preset_or_file).suffix in {".yaml", ".yml"}:
        return Path(preset_or_file)
    if preset_or_file not in preset_names():
        raise ConfigError(unknown_name("preset", preset_or_file, preset_names()) + ", or a file ending in .yaml")
    return preset_path(preset_or_file)


def _read(path: Path, seen: list[Path]) -> dict[str, Any]:
    """Read a file. ``seen`` holds this file and all files that extend it."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected fields of a sweep, found {type(content).__name__}")
    extended = content.pop(EXTENDS, None)
    if extended is None:
        return content
    if not isinstance(extended, str):
        raise ConfigError(f"{path}: {EXTENDS}: expected the name of a preset or of a file, found {extended!r}")
    other = path.parent / extended if Path(extended).suffix in {".yaml", ".yml"} else _find(extended)
    if other.resolve() in seen:
        raise ConfigError(f"{path}: {EXTENDS}: {extended} extends this file itself; take the line out of one of them")
    base = _read(other, [*seen, other.resolve()])
    return _over({key: value for key, value in base.items() if key not in _OF_THE_FILE_ITSELF}, content)


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of both files, the own ones winning; of a block or a case, each field by itself."""
    merged = _without_contradictions(base, own)
    for key, value in own.items():
        before = merged.get(key)
        if key in _WHOLE or not (isinstance(before, dict) and isinstance(value, dict)):
            merged[key] = value
        elif key == "cases":
            both = {name: {**(before.get(name) or {}), **(case or {})} for name, case in value.items()}
            merged[key] = {**before, **both}
        else:
            merged[key] = {**before, **value}
    return merged


def _without_contradictions(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base without what contradicts the own file.

    Cases take the place of a search and a search that of cases; a field that one file fixes and the other searches is what
    the own file says.
    """
    other_kind = (_OF_CASES if "space" in own else frozenset()) | (_OF_A_SEARCH if "cases" in own else frozenset())
    kept = {key: value for key, value in base.items() if key not in other_kind}
    for block, other in (("space", "trial"), ("trial", "space")):
        ours, theirs = own.get(block), kept.get(other)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            kept[other] = {field: value for field, value in theirs.items() if field not in ours}
    return kept
