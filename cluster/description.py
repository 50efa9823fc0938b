"""The description of a cluster: which machines its autoscaler may start.

A head node has the description of its cluster; elsewhere the user names a file, either a cluster file of ``ray up`` or
KubeRay's resources for ``kubectl apply``. This module checks only the parts that the program uses: the types and numbers of
machines. Whether Ray can start these machines is left to Ray.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from cluster.providers.base import EXPECTED, Part
from cluster.providers.registry import all_providers, provider_of, running_description

BOOTSTRAP_CONFIG = Path("~/ray_bootstrap_config.yaml")
"""File on the head node into which ``ray up`` writes the cluster's description."""

_Model = TypeVar("_Model", bound=BaseModel)


class _NodeType(Part):
    resources: dict[str, float] = Field(default_factory=dict)
    node_config: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    max_workers: Annotated[int, Field(ge=0)] = 0


class _Provider(Part):
    type: str
    region: str | None = None
    head_ip: str | None = None
    worker_ips: list[str] = Field(default_factory=list)


class _Description(Part):
    provider: _Provider
    max_workers: Annotated[int, Field(ge=0)] = 2
    available_node_types: dict[str, _NodeType] = Field(default_factory=dict)


def read_description(path: Path | None = None) -> dict[str, Any]:
    """Return the cluster's description as ``ray up`` takes it, KubeRay's included; empty if no autoscaler starts nodes.

    Args:
        path: A file of the user's, see ``read_description_file``. None means the cluster whose head node this machine is.

    Raises:
        OSError, yaml.YAMLError: the file cannot be read.
        ValueError: the file describes no cluster that could be started; the message says what was found and what was
            expected, but does not name the file.
    """
    if path is not None:
        return read_description_file(path)
    head = BOOTSTRAP_CONFIG.expanduser()
    if head.is_file():
        description: dict[str, Any] = yaml.safe_load(head.read_text())
        return description
    return running_description()


def read_description_file(path: Path) -> dict[str, Any]:
    """Return the description in a file, in the fields of ``ray up``.

    Raises:
        OSError, yaml.YAMLError: the file cannot be read.
        ValueError: the file describes no cluster, several clusters, or one that is not understood; the message says in one
            line what was found and what was expected.
    """
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    except UnicodeDecodeError as error:
        raise ValueError(f"the file is not UTF-8 text; {EXPECTED}") from error
    if not documents:
        raise ValueError(f"the file is empty; {EXPECTED}")
    strange = next((document for document in documents if not isinstance(document, dict)), None)
    if strange is not None:
        raise ValueError(f"found {type(strange).__name__} {str(strange)[:40]!r}; {EXPECTED}")
    for provider in all_providers().values():
        description = provider.read_manifests(documents)
        if description is not None:
            return description
    if len(documents) > 1:
        raise ValueError(f"found {len(documents)} documents, which only KubeRay's files may have; {EXPECTED}")
    return _checked(documents[0])


def _checked(description: dict[str, Any]) -> dict[str, Any]:
    """Return a description for ``ray up`` unchanged after checking that this program understands it."""
    old = [name for name in ("head_node", "worker_nodes") if description.get(name)]
    if old and "available_node_types" not in description:
        raise ValueError(f"{' and '.join(old)} are in Ray's old format, which is not supported; {EXPECTED}")
    if "provider" not in description:
        raise ValueError(f"it names no machines; {EXPECTED}")
    known = _validated(_Description, description)
    provider = provider_of(description)
    for name, node in known.available_node_types.items():
        _validated(provider.node_config, node.node_config, "available_node_types", name, "node_config")
    for field, expected in provider.required.items():
        if not description["provider"].get(field):
            raise ValueError(f"provider: {{type: {provider.name}}} without {field}; expected {expected}")
    if not provider.own_machines and not known.available_node_types:
        raise ValueError(f"it names no machines; {EXPECTED}")
    return description


def _validated(model: type[_Model], value: object, *inside: str) -> _Model:
    """Validate a part of a description.

    Args:
        model: The expected fields.
        value: The part.
        inside: Keys that lead to the part within the description.

    Raises:
        ValueError: the first error that the model finds in the part, in one line.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (*inside, *first["loc"]))
        raise ValueError(f"{where}={str(first['input'])[:40]!r}: {first['msg']}; {EXPECTED}") from error
