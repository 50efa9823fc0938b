"""Error messages about fields: what a field accepts, read from its type and bounds, and why a value was refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.errors import ConfigError, unknown_name
from orchestrator.kinds import KindRegistry


def allowed_values(model: type[BaseModel], field: str) -> str:
    """Return a description of the values that a field of a model accepts, for error messages and the reference page."""
    schema: dict[str, Any] = model.model_json_schema()["properties"][field]
    return " or ".join(_describe(part) for part in schema.get("anyOf", [schema]))


_BOUNDS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "null": "none",
    "boolean": "true or false",
}


def _describe(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if schema.get("type") not in _TYPES:
        return "a block of fields" if "$ref" in schema or schema.get("type") == "object" else "a list"
    bounds = [f"{sign} {_plain(schema[key])}" for key, sign in _BOUNDS if key in schema]
    if "multipleOf" in schema:
        bounds.append(f"a multiple of {schema['multipleOf']}")
    return " ".join([_TYPES[schema["type"]], ", ".join(bounds)]).strip()


def _plain(bound: float) -> str:
    return "2^63" if bound == 2**63 else f"{bound:g}"


def config_error(error: ValidationError, model: type[BaseModel], origin: str) -> ConfigError:
    """Return an error with one line for each of pydantic's findings: the field, its value, and what is allowed.

    Args:
        error: Pydantic's error.
        model: The model that refused the values.
        origin: Where the values come from, for example the name of a preset's file.
    """
    lines = []
    for finding in error.errors():
        path = [str(part) for part in finding["loc"]]
        if len(path) == 2 and finding["type"] in {"string_type", "dict_type"}:
            path = path[:1]  # pydantic reports a field of type "text or mapping" twice, once for each type
        owner = _owner(model, path)
        message = finding["msg"].removeprefix("Value error, ")
        if not path:
            lines.append(message)
        elif finding["type"] == "extra_forbidden" and owner:
            inside = "".join(f"{part}: " for part in path[:-1])
            lines.append(inside + unknown_name("field", path[-1], owner.model_fields))
        elif finding["type"] in {"secret", "kind"}:
            lines.append(f"{'.'.join(path)}: {message}")
        elif finding["type"] == "value_error" or owner is None:
            lines.append(f"{'.'.join(path)}={finding['input']!r}: {message}")
        else:
            allowed = allowed_values(owner, path[-1])
            lines.append(f"{'.'.join(path)}={finding['input']!r}: not allowed; {path[-1]} must be {allowed}")
    return ConfigError(f"{origin}: " + "\n".join(dict.fromkeys(lines)))


def _owner(model: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    """Return the model that has the last part of a path as a field; None if the path leads to no field of a model."""
    for part, following in pairwise(path):
        field = model.model_fields.get(part)
        registry = next((it for it in field.metadata if isinstance(it, KindRegistry)), None) if field else None
        if registry is not None:
            return registry.owner(following) if path[-2:] == [part, following] else None
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        model = field.annotation
    return model
