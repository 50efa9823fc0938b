"""Base class of the data-free config, with a field for the factor of each term in ``TERMS``."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import create_model

from trainables.config.base import NonNegative, Scale
from trainables.config.data_free.pieces import TERMS
from trainables.config.roles import Cost, setting
from trainables.config.zero_shot import ZeroShotConfig

_PUBLISHED = {"adversarial": 1.0}
"""Default factors other than 0, so that the default is belief matching."""


@cache
def term_description(name: str) -> str:
    """Return the first paragraph of a term's docstring, read from its source code, since importing a term imports torch."""
    module, _, defined = TERMS[name].partition(":")
    found = find_spec(module)
    assert found is not None
    assert found.origin is not None
    for node in ast.parse(Path(found.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == defined:
            return inspect.cleandoc(ast.get_docstring(node) or "").partition("\n\n")[0]
    raise LookupError(f"{module} defines no {defined}")


def _weight_fields() -> dict[str, Any]:
    role = setting(cost=Cost.SWITCH, inherited=False)
    return {
        f"{name}_weight": (Annotated[NonNegative, Scale.LOGARITHMIC, role], _PUBLISHED.get(name, 0.0)) for name in TERMS
    }


if TYPE_CHECKING:
    TermWeights = ZeroShotConfig
else:
    TermWeights = create_model("TermWeights", __base__=ZeroShotConfig, __module__=__name__, **_weight_fields())
"""Zero-shot config with the additional field ``NAME_weight`` for each term."""
