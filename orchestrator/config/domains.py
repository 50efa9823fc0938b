"""Parsing of domains from the command line: ``--search temperature=1:8:log``, ``--search student_steps=1,5,10``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError

from orchestrator.config.messages import config_error
from orchestrator.errors import ConfigError, unknown_name
from trainables.config import TrialConfig

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"(?P<low>{_NUMBER}):(?P<high>{_NUMBER})(?P<log>:log)?")
_EXPECTED = "expected LOW:HIGH, LOW:HIGH:log or VALUE,VALUE,..., for example temperature=1:8:log"


def parse_domains(search: Iterable[str], model: type[TrialConfig]) -> dict[str, Any]:
    """Return the domains of ``--search`` in the form of a space in YAML.

    Args:
        search: ``FIELD=LOW:HIGH``, with whole numbers for an integer field; ``FIELD=LOW:HIGH:log``, on a logarithmic
            scale; or ``FIELD=VALUE,VALUE,...``.
        model: The trial's config class, which has the fields and their types.

    Raises:
        ConfigError: a text in another form, an unknown field, or a value that its field does not allow.
    """
    domains: dict[str, Any] = {}
    for text in search:
        field, separator, domain = (part.strip() for part in text.partition("="))
        if not (separator and domain):
            raise ConfigError(f"--search {text}: {_EXPECTED}")
        if field not in model.model_fields:
            raise ConfigError(f"--search {text}: {unknown_name('field', field, list(model.model_fields))}")
        if field in domains:
            raise ConfigError(f"--search {text}: {field} is searched twice; leave one of them out")
        found = _RANGE.fullmatch(domain)
        if found:
            domains[field] = _range(text, field, model, **found.groupdict())
        elif "," in domain:
            domains[field] = {"type": "categorical", "choices": _choices(text, field, domain, model)}
        else:
            raise ConfigError(f"--search {text}: {_EXPECTED}; one value is fixed with --set {text}")
    return domains


def _range(text: str, field: str, model: type[TrialConfig], *, low: str, high: str, log: str | None) -> dict[str, Any]:
    kinds = {*_types(model.model_fields[field].annotation)} & {int, float}
    if not kinds:
        raise ConfigError(f"--search {text}: {field} is no number; list its values: VALUE,VALUE,...")
    kind = "int" if int in kinds else "float"
    try:
        # Numbers are read as YAML reads them, so that the same space in a file gives the same sweep id.
        ends = {
            name: int(end) if kind == "int" or end.lstrip("+-").isdecimal() else float(end)
            for name, end in (("low", low), ("high", high))
        }
    except ValueError as error:
        raise ConfigError(
            f"--search {text}: {field} is a whole number, so the ends of its range must be too"
        ) from error
    for end in ends.values():
        _checked(text, field, end, model)
    return {"type": kind, **ends, **({"log": True} if log else {})}


def _choices(text: str, field: str, domain: str, model: type[TrialConfig]) -> list[Any]:
    values = [value.strip() for value in domain.split(",")]
    if not all(values):
        raise ConfigError(f"--search {text}: a value is empty; {_EXPECTED}")
    wanted = [None if value.lower() in {"none", "null"} else value for value in values]
    return [_checked(text, field, value, model) for value in wanted]


def _checked(text: str, field: str, value: object, model: type[TrialConfig]) -> Any:
    """Return a value converted to its field's type. Only the value is checked; the space as a whole is tried later.

    Raises:
        ConfigError: the field does not allow the value.
    """
    try:
        return getattr(model.model_validate({field: value}), field)
    except ValidationError as error:
        if any(finding["loc"][:1] == (field,) for finding in error.errors()):
            raise config_error(error, model, f"--search {text}") from error
    info = model.model_fields[field]
    annotation: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    return TypeAdapter(annotation).validate_python(value)


def _types(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation allows, without bounds: float and None for ``Rate | None``."""
    parts = get_args(annotation)
    if getattr(annotation, "__metadata__", ()):
        parts = parts[:1]
    if not parts:
        yield annotation
    for part in parts:
        yield from _types(part)
