"""Reads a sweep: a preset or a file, then flags, then ``--set``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.config import SweepConfig, trial_model
from orchestrator.config_blocks import Scalar
from orchestrator.errors import ConfigError, config_error, unknown_name
from search_spaces.presets import preset_names, preset_path


def load_sweep(
    preset_or_file: str, *, flags: Mapping[str, Any] | None = None, assignments: Iterable[str] = ()
) -> SweepConfig:
    """Read a sweep.

    Args:
        preset_or_file: Name of a preset or path of a YAML file.
        flags: Fields of ``SweepConfig`` that win over the file, a mapping key by key; those that are ``None`` are left out.
        assignments: ``FIELD=VALUE`` for fields of the trial, in every case.

    Raises:
        ConfigError: no such preset or file, or a wrong key or value; the message names it and what is allowed.
    """
    path = Path(preset_or_file)
    if path.suffix not in {".yaml", ".yml"}:
        if preset_or_file not in preset_names():
            raise ConfigError(unknown_name("preset", preset_or_file, preset_names()) + ", or a file ending in .yaml")
        path = preset_path(preset_or_file)
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected fields of a sweep, found {type(content).__name__}")
    for key, value in (flags or {}).items():
        before = content.get(key)
        if value is not None:
            content[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    assigned = _parse_assignments(assignments)
    trial = _mapping(content.get("trial"), f"{path}: trial")
    if content.get("cases"):
        given = _mapping(content["cases"], f"{path}: cases")
        cases = {name: {**trial, **_mapping(case, f"{path}: case {name}")} for name, case in given.items()}
        content["cases"] = {name: _typed(case, assigned, f"{path}, case {name}") for name, case in cases.items()}
        content["trial"] = {}
    else:
        content["trial"] = _typed(trial, assigned, f"{path}, trial")
    try:
        return SweepConfig.model_validate(content)
    except ValidationError as error:
        raise config_error(error, SweepConfig, str(path)) from error


def _mapping(value: object, where: str) -> dict[str, Any]:
    """A block of a file, which may be empty."""
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{where}: expected lines of NAME: VALUE, found {value!r}")
    return value or {}


def _parse_assignments(assignments: Iterable[str]) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {}
    for assignment in assignments:
        field, separator, value = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment}: expected FIELD=VALUE, for example temperature=2")
        values[field.strip()] = None if value.strip().lower() in {"none", "null"} else value.strip()
    return values


def _typed(from_file: Mapping[str, Scalar], assigned: Mapping[str, Scalar], origin: str) -> dict[str, Scalar]:
    """The fixed fields, each value in its field's type, so that 2, 2.0 and "2" are one setting."""
    trial = {**from_file, **assigned}
    model = trial_model(trial, origin)
    try:
        config = model.model_validate(trial)
    except ValidationError as error:
        # Bounds that span two fields have no field of their own; what was said last is then the likelier cause.
        blamed = {str(finding["loc"][0]) if finding["loc"] else "" for finding in error.errors()}
        by_flag = assigned and not blamed & (from_file.keys() - assigned.keys())
        raise config_error(error, model, "--set" if by_flag else origin) from error
    return {field: getattr(config, field) for field in model.model_fields if field in config.model_fields_set}
