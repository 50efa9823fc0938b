"""Loading of a sweep from a preset or file, flags, ``--set`` and ``--search``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.config.blocks import Scalar
from orchestrator.config.domains import parse_domains
from orchestrator.config.images import Fetch, describe_images, local_file
from orchestrator.config.messages import config_error
from orchestrator.config.spaces import find_space, settings_within
from orchestrator.config.sweep import SweepConfig, trial_model
from orchestrator.config.sweep_files import read_sweep_file
from orchestrator.errors import ConfigError
from orchestrator.kinds import KindRegistry
from orchestrator.samplers.registry import SAMPLERS
from orchestrator.schedulers.registry import SCHEDULERS
from search_spaces.fields import suggested_fields
from trainables.config.own_images import NO_DATASET
from trainables.metrics import METRICS
from trainables.system.own_files import files_in, hold, read_file

_KINDS: dict[str, KindRegistry[Any]] = {"sampler": SAMPLERS, "scheduler": SCHEDULERS}
"""Blocks of a sweep whose fields depend on their ``name``, with the registry of each."""


def load_sweep(
    preset_or_file: str,
    *,
    flags: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
    search: Iterable[str] = (),
    fetch: Fetch = local_file,
    say: Callable[[str], None] = lambda line: None,
    settle: Callable[[Any], None] | None = None,
) -> SweepConfig:
    """Load a sweep.

    Args:
        preset_or_file: Name of a preset or path of a YAML file.
        flags: Fields of ``SweepConfig`` that override the file; a mapping overrides it key by key. None is ignored.
        assignments: ``FIELD=VALUE`` for fields of the trial, in every case; ``sampler.FIELD=VALUE`` and
            ``scheduler.FIELD=VALUE`` are treated as flags.
        search: ``FIELD=DOMAIN`` for fields to search, see ``parse_domains``.
        fetch: Returns the local path of the user's own images, where ``dataset`` is an address.
        say: Prints a line: on fields that are no longer searched, on fields of the file that another sampler or scheduler
            does not have, and on the user's own images.
        settle: Called if files of the user's own are named, after they are read and before any of them runs, with the
            ``storage`` as given or None. It may replace the files.

    Raises:
        ConfigError: no such preset or file, or a wrong key or value; the message names it and what is allowed.
    """
    path, content = read_sweep_file(preset_or_file)
    assignments, search = list(assignments), list(search)
    named = _read_files(path, [content, dict(flags or {})], assignments, search)
    if settle is not None and named:
        settle((flags or {}).get("storage") or content.get("storage"))
    given_by = {key: f"{path}: {key}" for key in content}
    trials_of_file = _count_cases(content)
    assigned, flags = _split_kinds(_parse_assignments(assignments), flags or {})
    for key, value in flags.items():
        if value is not None:
            content[key] = _merged(key, content.get(key), value, say)
            given_by[key] = f"--{key.replace('_', '-')}"
    trial = _mapping(content.get("trial"), f"{path}: trial")
    trial = _with_domains(content, trial, search, assigned, path, say)
    typed = partial(_typed, teachers=content.get("teachers") or (), fetch=fetch, say=_once(say))
    if content.get("cases"):
        given = _mapping(content["cases"], f"{path}: cases").items()
        own = {name: _mapping(case, f"{path}: case {name}") for name, case in given}
        seeded = ["--set seed"] * ("seed" in assigned) + [f"{path}: trial: seed"] * ("seed" in trial)
        _refuse_seeds([*seeded, *(f"{path}: case {name}: seed" for name, case in own.items() if "seed" in case)])
        cases = {name: typed({**trial, **case}, assigned, f"{path}, case {name}") for name, case in own.items()}
        content["cases"] = cases
        content["trial"] = {}
    else:
        within = settings_within(content.get("space") or {}, content.get("search") or {}, {**trial, **assigned})
        content["trial"] = typed(trial, assigned, f"{path}, trial", searched=within)
        if content["trial"].get("dataset") == NO_DATASET and flags.get("objective") is None:
            content["objective"] = _objective_without_images(content.get("objective"), say)
    try:
        sweep = SweepConfig.model_validate(content)
    except ValidationError as error:
        raise config_error(error, SweepConfig, str(path)) from error
    if not sweep.cases:
        return _with_something_searched(sweep, trial, assigned, path, given_by, say)
    # A stored sweep of cases contains seed and num_trials, and may be loaded again, also with other --only or --seeds.
    by_flag = given_by.get("num_trials") == "--num-trials"
    num_trials = sweep.num_trials if by_flag else trials_of_file
    as_it_is = {"seed": SweepConfig.model_fields["seed"].default, "num_trials": num_trials}
    _refuse_seeds([given_by[field] for field, value in as_it_is.items() if content.get(field, value) != value])
    return sweep


def _read_files(path: Path, content: Any, assignments: Iterable[str], search: Iterable[str]) -> set[str]:
    """Read the user's own files that settings name as ``FILE.py:NAME``, and return their names.

    A relative name is looked up in the working folder, then beside the sweep's file. The checks of the fields report a file
    that does not exist.
    """
    assigned = [{field.strip(): value} for field, _, value in (each.partition("=") for each in assignments)]
    searched = [domain.partition("=")[2].split(",") for domain in search]
    named = files_in([content, assigned, searched])
    for file in sorted(named):
        for place in (Path(file), path.parent / file):
            with suppress(OSError, ValueError):  # a name may contain characters that no path may
                hold([read_file(file, place)])
                break
    return named


def _split_kinds(assigned: Mapping[str, Scalar], flags: Mapping[str, Any]) -> tuple[dict[str, Scalar], dict[str, Any]]:
    """Split ``--set`` assignments: return those to fields of the trial, and the flags with those to sampler or scheduler."""
    trial: dict[str, Scalar] = {}
    more = dict(flags)
    for field, value in assigned.items():
        block, _, of_block = field.partition(".")
        if of_block and block in _KINDS:
            # _parse_assignments turns the word "none" into None, but here it is the name of a scheduler.
            said = "none" if of_block == "name" and value is None else value
            more[block] = {**(more.get(block) or {}), of_block: said}
        else:
            trial[field] = value
    return trial, more


def _merged(key: str, before: Any, flag: Any, say: Callable[[str], None]) -> Any:
    """Return the value of a sweep's field after a flag has overridden the file; a block is overridden field by field.

    A flag that names another sampler or scheduler drops the fields of the file's block, and ``say`` prints which.
    """
    if not (isinstance(before, dict) and isinstance(flag, dict)):
        return flag
    kinds = _KINDS.get(key)
    if kinds is None or flag.get("name", kinds.name_of(before)) == kinds.name_of(before):
        return {**before, **flag}
    left_out = kinds.changed(before)
    if left_out:
        fields = ", ".join(f"{field}={value}" for field, value in left_out.items())
        verb = "applies" if len(left_out) == 1 else "apply"
        say(f"{key}: {flag['name']} replaces {kinds.name_of(before)}, whose {fields} no longer {verb}")
    return flag


def _with_domains(
    content: dict[str, Any],
    trial: Mapping[str, Any],
    search: Iterable[str],
    assigned: Mapping[str, Scalar],
    path: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Add the domains of ``--search`` to a file's content, and return the fields that stay fixed under ``trial``.

    Raises:
        ConfigError: a domain is malformed, its field is unknown or also fixed by ``--set``, or the sweep has cases.
    """
    model = trial_model({**trial, **assigned}, str(path))
    domains = parse_domains(search, model)
    if not domains:
        return dict(trial)
    if content.get("cases"):
        raise ConfigError(f"--search {next(iter(domains))}: {path} is a sweep of cases, in which nothing is searched")
    both = sorted(domains.keys() & assigned.keys())
    if both:
        raise ConfigError(f"{', '.join(both)}: fixed by --set and searched by --search; leave one of them out")
    fixed = sorted(domains.keys() & trial.keys())
    if fixed:
        say(f"{', '.join(fixed)}: searched by --search instead of fixed by {path}")
    space = content.get("space") or {}
    if isinstance(space, Mapping):
        content["space"] = {**space, **domains}
    else:  # the fields that a function searches are not known here, so the domains are kept beside it
        content["search"] = {**(content.get("search") or {}), **domains}
    return {field: value for field, value in trial.items() if field not in domains}


def _objective_without_images(objective: object, say: Callable[[str], None]) -> object:
    """Return the objective of a search without images: the data-free score, if the given one is measured on images."""
    given = SweepConfig.model_fields["objective"].default if objective is None else objective
    if any(metric.name == given and metric.measured_on for metric in METRICS):
        say(f"dataset=none: {given} needs images; the search optimises data_free_score instead")
        return "data_free_score"
    return given


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Wrap ``say`` so that it prints each line only once, since many cases have the same data set."""
    said: set[str] = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_once


def _count_cases(content: Mapping[str, Any]) -> int | None:
    """Count the trials of a file's cases before flags apply; None if it has no cases, or malformed ones."""
    wanted, seeds = content.get("only") or content.get("cases"), content.get("seeds", [0])
    return len(wanted) * len(seeds) if isinstance(wanted, list | dict) and isinstance(seeds, list) else None


def _refuse_seeds(where: Sequence[str]) -> None:
    """Refuse ``seed`` and ``num_trials`` for a sweep of cases, where they would change nothing but the sweep's id.

    Args:
        where: Places where one of them was given.

    Raises:
        ConfigError: there is such a place.
    """
    if where:
        raise ConfigError(
            f"{', '.join(where)}: has no effect on a sweep of cases, each of which runs once with each seed; use seeds: "
            "[0, 1, 2] in the file, or --seeds of zskt reproduce and zskt plan"
        )


def _with_something_searched(
    sweep: SweepConfig,
    trial: Mapping[str, Any],
    assigned: Mapping[str, Scalar],
    path: Path,
    given_by: Mapping[str, str],
    say: Callable[[str], None],
) -> SweepConfig:
    """Return the search if its trials can differ, else the search with one trial.

    Args:
        sweep: The search as it was read.
        trial: Fields that its file fixes.
        assigned: Fields that ``--set`` fixes.
        path: The file, for messages.
        given_by: For each field of the sweep that was given, where, for messages.
        say: Prints a line on fields that are no longer searched.

    Raises:
        ConfigError: the file both fixes and searches a field, or asks for several trials without a space.
    """
    try:
        fields = suggested_fields(find_space(sweep.space, sweep.search), sweep.trial)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    both = sorted(fields.fixed & trial.keys())
    if both:
        raise ConfigError(
            f"{path}: {', '.join(both)}: fixed under trial and searched in space; take each out of one of them, or fix it "
            "on the command line with --set"
        )
    taken_out = sorted(fields.fixed & assigned.keys())
    if taken_out:
        verb = "is" if len(taken_out) == 1 else "are"
        say(f"{', '.join(taken_out)} {verb} fixed by --set and no longer searched")
    if fields.searched or sweep.num_trials == 1:
        return sweep
    if sweep.scheduler.is_population:
        raise ConfigError(
            f"{path}: scheduler={sweep.scheduler.name}: nothing is searched, so there is nothing to explore; give it a space"
        )
    if taken_out:
        say(f"nothing is left to search: one trial instead of {sweep.num_trials}")
    elif "num_trials" in given_by:
        raise ConfigError(
            f"{given_by['num_trials']}={sweep.num_trials}: there is no space, so every trial would be the same one; leave "
            "it out, or for several seeds write cases: {published: {}} and seeds: [0, 1, 2]"
        )
    return sweep.model_copy(update={"num_trials": 1})


def _mapping(value: object, where: str) -> dict[str, Any]:
    """Return a block of a file, which may be empty, as a mapping.

    Raises:
        ConfigError: the block is something else.
    """
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


def _typed(
    from_file: Mapping[str, Scalar],
    assigned: Mapping[str, Scalar],
    origin: str,
    *,
    teachers: Collection[str],
    fetch: Fetch,
    say: Callable[[str], None],
    searched: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Scalar]:
    """Return the fixed fields with each value converted to its field's type, so that 2, 2.0 and "2" are one setting.

    Fixed fields that are not compatible with the defaults of other fields must be compatible with some of the settings in
    ``searched``.

    Raises:
        ConfigError: a field is unknown or its value not allowed.
    """
    trial = describe_images({**from_file, **assigned}, origin=origin, teachers=teachers, fetch=fetch, say=say)
    model = trial_model(trial, origin)
    try:
        config = model.model_validate(trial)
    except ValidationError as error:
        for settings in searched:
            with suppress(ValidationError):
                config = model.model_validate({**settings, **trial})
                return {field: getattr(config, field) for field in model.model_fields if field in trial}
        # An error that spans two fields is attributed to no field; the value that was given last is the likelier cause.
        blamed = {str(finding["loc"][0]) if finding["loc"] else "" for finding in error.errors()}
        by_flag = assigned and not blamed & (from_file.keys() - assigned.keys())
        raise config_error(error, model, "--set" if by_flag else origin) from error
    return {field: getattr(config, field) for field in model.model_fields if field in config.model_fields_set}
