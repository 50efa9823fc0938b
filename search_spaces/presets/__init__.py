"""Whole sweeps as YAML files in this folder."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """Where a preset lies; it need not exist."""
    return _FOLDER / f"{name}.yaml"
