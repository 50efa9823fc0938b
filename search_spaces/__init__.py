"""Search spaces of sweeps, and the presets that the README names."""

from __future__ import annotations

from search_spaces.inline import InlineSpace
from search_spaces.registry import SearchSpace, resolve_space, space_names

__all__ = ["InlineSpace", "SearchSpace", "preset_names", "preset_path", "resolve_space", "space_names"]

from search_spaces.presets import preset_names, preset_path
