"""Reads the YAML file of a sweep, and what it extends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import ConfigError, unknown_name
from search_spaces.presets import preset_names, preset_path

EXTENDS = "extends"
"""Key of a file whose value is the preset or file that it changes."""

_OF_THE_FILE_ITSELF = frozenset({"name", "description"})
"""What a file says of itself, and no other takes over from it."""

_WHOLE = frozenset({"sampler", "scheduler"})
"""Blocks whose fields depend on their name, so that those of one mean nothing to another."""


def read_sweep_file(preset_or_file: str) -> tuple[Path, dict[str, Any]]:
    """Read the file of a sweep, with what it takes over from the one that it extends.

    Args:
        preset_or_file: Name of a preset, or path of a file that ends in .yaml or .yml.

    Returns:
        The file, and its fields without ``extends``. Of a block that both files have, such as ``trial``, this one's
        fields win and the others stay; likewise of a case that both have.

    Raises:
        ConfigError: no such preset or file, no sweep in it, or files that extend each other.
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
    """Read a file; ``seen`` are it and those that extend it."""
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
    """The fields of both files. Of a block of fields each may be the base's or the own; so may those of a case."""
    merged = dict(base)
    for key, value in own.items():
        before = base.get(key)
        if key in _WHOLE or not (isinstance(before, dict) and isinstance(value, dict)):
            merged[key] = value
        else:
            merged[key] = _over(before, value) if key == "cases" else {**before, **value}
    return merged
