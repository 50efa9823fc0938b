"""Presets: complete sweeps as YAML files in this folder."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """Return the names of all presets, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """Return the path of a preset's file, which need not exist."""
    return _FOLDER / f"{name}.yaml"
