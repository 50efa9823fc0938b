"""What a field accepts, in words, read from its type and bounds."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def allowed_values(model: type[BaseModel], field: str) -> str:
    """What a field of a model accepts, for error messages and the reference page."""
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
