"""Blocks of settings that come in several kinds, such as samplers and schedulers.

The field ``name`` of a block chooses its kind, and each kind has fields of its own. A kind is a class that declares its
fields, its capabilities and how its object is built. This project's own kinds are listed in a registry; further kinds are
entry points of installed packages, or classes in a file, named ``FILE.py:CLASS``.

A block is serialised flat, as by versions that had no kinds: its own fields and the fields of all of this project's kinds,
with their defaults. A sweep's id and its stored files therefore do not depend on how this module separates the kinds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, SerializationInfo, ValidationInfo, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from orchestrator.errors import naming, unknown_name
from trainables.config import Config
from trainables.config.plugins import STORED, installed, load_from_file
from trainables.system.own_files import file_of

logger = logging.getLogger(__name__)


class Kind(Config):
    """Base of all kinds."""

    name: str
    """Name of the kind."""


K = TypeVar("K", bound=Kind)


class KindRegistry(Generic[K]):
    """The kinds of one block. ``Annotated[BASE, REGISTRY]`` is the type of a field that holds a block of any kind."""

    def __init__(
        self,
        what: str,
        *,
        group: str,
        base: type[K],
        absent: type[K],
        kinds: Mapping[str, type[K]],
        flat: Mapping[str, Any],
    ) -> None:
        """Make the registry.

        Args:
            what: Name of the block in messages, such as ``sampler``.
            group: Entry-point group in which other packages register kinds.
            base: Base class of all kinds.
            absent: Placeholder class for a stored kind that cannot be loaded here; accepts any fields.
            kinds: This project's own kinds by name.
            flat: All fields of the flat block with their defaults, ``name`` included.
        """
        self.what = what
        self.group = group
        self.kinds = dict(kinds)
        self._base = base
        self._absent = absent
        self._flat = dict(flat)
        self._said: set[str] = set()

    def names(self, which: Callable[[type[K]], bool] = lambda kind: True) -> list[str]:
        """Return the names of this project's kinds that satisfy a predicate, in the order of the registry."""
        return [name for name, kind in self.kinds.items() if which(kind)]

    def find(self, name: str) -> type[K]:
        """Return the kind with this name: this project's, an installed package's or a file's.

        Raises:
            ValueError: no kind has this name, or the entry point or file does not hold a subclass of the base class.
        """
        if name in self.kinds:
            return self.kinds[name]
        entries = installed(self.group)
        if name in entries:
            found = self._loaded(entries[name])
        elif file_of(name):
            found = load_from_file(self.what, name)
        else:
            raise ValueError(unknown_name(self.what, name, [*self.kinds, *entries]) + ", or FILE.py:CLASS")
        if not (isinstance(found, type) and issubclass(found, self._base)):
            raise ValueError(f"{self.what} {name!r}: expected a subclass of {self._base.__name__}, found {found!r}")
        return found

    def name_of(self, block: Mapping[str, Any]) -> str:
        """Return the name of a block's kind; the default kind if the block names none."""
        return str(block.get("name", self._flat["name"]))

    def changed(self, block: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a block, without ``name``, whose values differ from the flat block's defaults."""
        return {
            field: value
            for field, value in block.items()
            if field != "name" and not (field in self._flat and value == self._flat[field])
        }

    def owner(self, field: str) -> type[K] | None:
        """Return the first of this project's kinds that has a field; None if no kind has it."""
        return next((kind for kind in self.kinds.values() if field in kind.model_fields), None)

    def parse(self, block: object, *, stored: bool = False) -> K:
        """Read a block.

        Args:
            block: A mapping of fields, or an instance of a kind, which is returned unchanged.
            stored: Whether the block was read from storage. Then a field that its kind does not have is reported and
                ignored, no file is run, and a kind that cannot be loaded here is represented by the placeholder class.

        Raises:
            ValidationError: a field has a wrong value.
            PydanticCustomError: the kind does not exist, or it does not have one of the fields.
        """
        if isinstance(block, self._base):
            return block
        if not isinstance(block, Mapping):
            raise PydanticCustomError("kind", "expected a block of fields")
        name = self.name_of(block)
        try:
            kind = self._find_stored(name) if stored else self.find(name)
        except ValueError as error:
            raise PydanticCustomError("kind", "{reason}", {"reason": str(error)}) from error
        if kind is self._absent:
            return kind.model_validate({**block, "name": name})
        foreign = {field: value for field, value in block.items() if field not in kind.model_fields}
        if stored:
            self._report_ignored(name, foreign)
        else:
            self._refuse(name, kind, foreign, block)
        own = {field: value for field, value in block.items() if field not in foreign}
        with naming(f"{self.what} {name}", passing=(ValueError,)):
            return kind.model_validate({**own, "name": name}, context=STORED if stored else None)

    def __get_pydantic_core_schema__(self, source: type[K], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema by which pydantic reads and writes a field of this type."""
        return core_schema.with_info_wrap_validator_function(
            self._validate,
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(self._dump, info_arg=True),
        )

    def _validate(self, block: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        is_block = isinstance(block, Mapping | self._base)
        return self.parse(block, stored=info.context == STORED) if is_block else handler(block)

    def _dump(self, kind: K, info: SerializationInfo) -> dict[str, Any]:
        fields = {name: getattr(kind, name) for name in type(kind).model_fields}
        values = {**self._flat_copy(), **fields, **(kind.model_extra or {})}
        if not info.exclude_defaults:
            return values
        own = {name: field.get_default(call_default_factory=True) for name, field in type(kind).model_fields.items()}
        defaults = {**own, **self._flat}
        return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}

    def _loaded(self, entry: EntryPoint) -> object:
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{self.what} {entry.name!r}: {entry.value} cannot be loaded: {error}") from error

    def _flat_copy(self) -> dict[str, Any]:
        return {name: type(value)(value) if isinstance(value, dict) else value for name, value in self._flat.items()}

    def _find_stored(self, name: str) -> type[K]:
        at_hand = name in self.kinds or name in installed(self.group)
        return self.find(name) if at_hand else self._absent

    def _refuse(self, name: str, kind: type[K], foreign: Mapping[str, Any], block: Mapping[str, Any]) -> None:
        """Refuse fields that a kind does not have.

        In a flat block, which has the fields of all kinds, foreign fields with their default are accepted.
        """
        whole = block.keys() >= self._flat.keys()
        for field, value in foreign.items():
            if whole and field in self._flat and value == self._flat[field]:
                continue
            known = [known for known in kind.model_fields if known != "name"]
            if field not in self._flat:
                raise PydanticCustomError(
                    "kind", "{reason}", {"reason": unknown_name("field", field, ["name", *known])}
                )
            owners = ", ".join(other for other, kind in self.kinds.items() if field in kind.model_fields)
            raise PydanticCustomError(
                "kind",
                "{reason}",
                {
                    "reason": f"{field}={value!r} does nothing: it is a field of {owners}, and {name} has "
                    f"{', '.join(known) or 'no fields'}. Leave it out; a sweep that was begun with it can be resumed "
                    "without it, with --sweep-id ID"
                },
            )

    def _report_ignored(self, name: str, foreign: Mapping[str, Any]) -> None:
        """Warn once about each stored field that its kind does not have, unless it has the flat block's default."""
        for field, value in foreign.items():
            line = f"{self.what}: {field}={value!r} is ignored: {name} has no such field"
            if not (field in self._flat and value == self._flat[field]) and line not in self._said:
                self._said.add(line)
                logger.warning("%s", line)
