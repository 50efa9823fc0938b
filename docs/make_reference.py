"""Generate ``docs/reference.md`` from the code, so that the page never differs from the code; run by ``make docs``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from typer.core import TyperGroup

from orchestrator.cli import app
from orchestrator.config import SweepConfig
from orchestrator.config.blocks import (
    BoundConfig,
    HungConfig,
    ResourcesConfig,
    StorageConfig,
)
from orchestrator.config.budget import BudgetConfig
from orchestrator.config.loading import load_sweep
from orchestrator.config.messages import allowed_values
from orchestrator.kinds import KindRegistry
from orchestrator.results.schema import REPORTS, SWEEPS, TRIALS
from orchestrator.samplers.registry import SAMPLERS
from orchestrator.schedulers.registry import SCHEDULERS
from search_spaces import preset_names
from search_spaces.spaces import SPACES
from trainables.config import METHODS, SupervisedConfig, ZeroShotConfig
from trainables.config.base import Config
from trainables.config.data_free.config import DataFreeConfig
from trainables.health import GUARDS
from trainables.metrics import METRICS

PAGE = Path(__file__).with_name("reference.md")


def one_line(text: str | None) -> str:
    """Return a text without line breaks, escaped for a Markdown table."""
    return " ".join((text or "").split()).replace("|", "\\|").replace("``", "`")


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def fields(model: type[Config], *, but_of: type[Config] | None = None) -> list[str]:
    """Return the table of a config's fields, without rows that are equal in the table of ``but_of``."""
    known = _rows(but_of) if but_of else []
    return table(["field", "default", "allowed", "meaning"], [row for row in _rows(model) if row not in known])


def _rows(model: type[Config]) -> list[list[str]]:
    rows = []
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "see below" if isinstance(default, BaseModel) else repr(default) if default == "" else str(default)
        if field.is_required():
            shown = "required"
        rows.append([f"`{name}`", f"`{shown}`", _allowed(model, name), one_line(model.descriptions().get(name))])
    return rows


def _allowed(model: type[BaseModel], name: str) -> str:
    try:
        return one_line(allowed_values(model, name))
    except KeyError:  # a nested block, a mapping
        return ""


_SAMPLER_ABILITIES = {
    "`warm_start`": "warm_starts",
    "several objectives": "several_objectives",
    "learns constraints": "learns_constraints",
}
_SCHEDULER_ABILITIES = {"stops trials": "stops_trials", "changes settings": "is_population"}


def kinds(registry: KindRegistry[Any], abilities: dict[str, str]) -> list[str]:
    """Return the section of a block that comes in several kinds: a table of the kinds' abilities and one of their fields."""
    can = [
        [
            f"`{name}`",
            one_line(inspect.getdoc(kind)),
            *("yes" if getattr(kind, of) else "no" for of in abilities.values()),
        ]
        for name, kind in registry.kinds.items()
    ]
    having: dict[tuple[str, ...], list[str]] = {}
    for name, kind in registry.kinds.items():
        for field, *rest in _rows(kind):
            if field != "`name`":
                having.setdefault((field, *rest), []).append(f"`{name}`")
    return [
        f"### `{registry.what}:`",
        "",
        f"`name` chooses the kind; further kinds are entry points in the group `{registry.group}`, or `FILE.py:CLASS`.",
        "",
        *table(["name", "what it does", *abilities], can),
        *table(
            ["field", "kinds", "default", "allowed", "meaning"],
            [[field, ", ".join(names), *rest] for (field, *rest), names in having.items()],
        ),
    ]


def _command_help(text: str | None) -> str:
    what, _, example = one_line(text).partition("Example: ")
    return f"{what}Example: `{example}`"


def commands(group: TyperGroup, name: str) -> list[str]:
    """Return the sections of all commands of a group, those of its subgroups included."""
    lines = []
    for word, command in group.commands.items():
        called = f"{name} {word}"
        if isinstance(command, TyperGroup):
            lines += commands(command, called)
            continue
        lines += [f"### `{called}`", "", _command_help(command.help), ""]
        rows = []
        for parameter in command.params:
            option = next((text for text in parameter.opts if text.startswith("--")), None)
            shown = option or getattr(parameter, "metavar", None) or str(parameter.name).upper()
            rows.append([f"`{shown}`", one_line(getattr(parameter, "help", ""))])
        lines += table(["argument", "meaning"], rows) if rows else []
    return lines


def page() -> str:
    """Return the text of the whole page."""
    lines = [
        "# Reference",
        "",
        "Generated from the code by `make docs`; to change this page, edit the docstrings in the code.",
        "",
        "## Commands",
        "",
        "`python run_sweep.py` takes the same arguments as `zskt sweep`.",
        "",
        *commands(typer.main.get_group(app), "zskt"),
        "## A trial: `ZeroShotConfig`",
        "",
        "Fields for `trial:`, for cases, for a search space, and for `--set FIELD=VALUE`.",
        "",
        *fields(ZeroShotConfig),
        "## A trial with `method: data_free`: `DataFreeConfig`",
        "",
        "The fields of `ZeroShotConfig`, with the following added or changed:",
        "",
        *fields(DataFreeConfig, but_of=ZeroShotConfig),
        "## A trial with `method: supervised`: `SupervisedConfig`",
        "",
        "Fields for the same places, and for `teacher_recipe:`.",
        "",
        *fields(SupervisedConfig),
        "## A sweep: `SweepConfig`",
        "",
        "Fields of a preset or of a YAML file of your own.",
        "",
        *fields(SweepConfig),
    ]
    for key, model in (
        ("budget", BudgetConfig),
        ("constraints", BoundConfig),
        ("resources", ResourcesConfig),
        ("hung", HungConfig),
        ("storage", StorageConfig),
    ):
        lines += [f"### `{key}:`", "", one_line(inspect.getdoc(model)), "", *fields(model)]
    lines += [*kinds(SAMPLERS, _SAMPLER_ABILITIES), *kinds(SCHEDULERS, _SCHEDULER_ABILITIES)]
    lines += [
        "## Presets",
        "",
        *table(["preset", "description"], [[f"`{n}`", load_sweep(n).description] for n in preset_names()]),
    ]
    spaces = [[f"`{name}`", one_line(inspect.getdoc(space))] for name, space in SPACES.items()]
    lines += ["## Search spaces", "", *table(["space", "what it varies"], spaces)]
    metrics = [
        [f"`{m.name}`", m.kind.__name__, m.unit, one_line(m.description), ", ".join(m.methods or METHODS)]
        for m in METRICS
    ]
    lines += ["## Metrics", "", *table(["metric", "type", "unit", "meaning", "methods"], metrics)]
    guards = [[guard.name, f"`{guard.column}`", guard.says] for guard in GUARDS]
    lines += ["## Warnings while a trial runs", "", *table(["sign", "column", "what it says"], guards)]
    lines += ["## Tables of the result store", ""]
    for name, schema in (("trials", TRIALS), ("reports", REPORTS), ("sweeps", SWEEPS)):
        rows = [[f"`{f.name}`", str(f.type), one_line(f.metadata[b"description"].decode())] for f in schema]
        lines += [f"### `{name}`", "", *table(["column", "type", "meaning"], rows)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
