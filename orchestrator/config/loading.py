"""Reads a sweep: a preset or a file, then flags, then ``--set``."""

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
"""Blocks of a sweep that come in kinds."""


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
    """Read a sweep.

    Args:
        preset_or_file: Name of a preset or path of a YAML file.
        flags: Fields of ``SweepConfig`` that win over the file, a mapping key by key; those that are ``None`` are left out.
        assignments: ``FIELD=VALUE`` for fields of the trial, in every case; ``sampler.FIELD=VALUE`` and
            ``scheduler.FIELD=VALUE`` are flags.
        search: ``FIELD=DOMAIN`` for fields that a search varies, see ``parse_domains``.
        fetch: Finds images of the user's own on this machine, where ``dataset`` is an address.
        say: Is told which fields are thereby taken out of the search, what of the file another kind of sampler or
            scheduler leaves out, and what images of the user's own are.
        settle: Called where files of the user's own are named, once they have been read and before any of them runs, with
            what is said of the storage, None if nothing is: it may put others in their place.

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
    # What a session has written down says both as they are, and may be read again, with other --only or --seeds too.
    by_flag = given_by.get("num_trials") == "--num-trials"
    num_trials = sweep.num_trials if by_flag else trials_of_file
    as_it_is = {"seed": SweepConfig.model_fields["seed"].default, "num_trials": num_trials}
    _refuse_seeds([given_by[field] for field, value in as_it_is.items() if content.get(field, value) != value])
    return sweep


def _read_files(path: Path, content: Any, assignments: Iterable[str], search: Iterable[str]) -> set[str]:
    """Read the files of the user's own that settings name as ``FILE.py:NAME``, as they are now, and return their names.

    A relative name is looked for in the working folder, then beside the sweep's file. One that is nowhere is left to the
    checks of the fields.
    """
    assigned = [{field.strip(): value} for field, _, value in (each.partition("=") for each in assignments)]
    searched = [domain.partition("=")[2].split(",") for domain in search]
    named = files_in([content, assigned, searched])
    for file in sorted(named):
        for place in (Path(file), path.parent / file):
            with suppress(OSError, ValueError):  # a name may hold what no path may
                hold([read_file(file, place)])
                break
    return named


def _split_kinds(assigned: Mapping[str, Scalar], flags: Mapping[str, Any]) -> tuple[dict[str, Scalar], dict[str, Any]]:
    """The assignments to fields of the trial, and the flags with those to fields of a sampler or scheduler."""
    trial: dict[str, Scalar] = {}
    more = dict(flags)
    for field, value in assigned.items():
        block, _, of_block = field.partition(".")
        if of_block and block in _KINDS:
            # None is what --set makes of the word, which is a scheduler's name.
            said = "none" if of_block == "name" and value is None else value
            more[block] = {**(more.get(block) or {}), of_block: said}
        else:
            trial[field] = value
    return trial, more


def _merged(key: str, before: Any, flag: Any, say: Callable[[str], None]) -> Any:
    """What a file says of a sweep's field, and a flag over it; of a block a flag changes the fields that it names.

    One that names another kind of sampler or scheduler leaves out the fields of the file's.
    """
    if not (isinstance(before, dict) and isinstance(flag, dict)):
        return flag
    kinds = _KINDS.get(key)
    if kinds is None or flag.get("name", kinds.name_of(before)) == kinds.name_of(before):
        return {**before, **flag}
    left_out = kinds.changed(before)
    if left_out:
        fields = ", ".join(f"{field}={value}" for field, value in left_out.items())
        verb = "holds" if len(left_out) == 1 else "hold"
        say(f"{key}: {flag['name']} takes the place of {kinds.name_of(before)}, whose {fields} no longer {verb}")
    return flag


def _with_domains(
    content: dict[str, Any],
    trial: Mapping[str, Any],
    search: Iterable[str],
    assigned: Mapping[str, Scalar],
    path: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Put what ``--search`` varies into a file's content, and return what is still fixed under ``trial``.

    Raises:
        ConfigError: a domain is not well formed, of no field, of one that ``--set`` fixes too, or of a sweep of cases.
    """
    model = trial_model({**trial, **assigned}, str(path))
    domains = parse_domains(search, model)
    if not domains:
        return dict(trial)
    if content.get("cases"):
        raise ConfigError(f"--search {next(iter(domains))}: {path} is a sweep of cases, which searches nothing")
    both = sorted(domains.keys() & assigned.keys())
    if both:
        raise ConfigError(f"{', '.join(both)}: fixed by --set and searched by --search; leave one of them out")
    fixed = sorted(domains.keys() & trial.keys())
    if fixed:
        say(f"{', '.join(fixed)}: searched by --search instead of fixed by {path}")
    space = content.get("space") or {}
    if isinstance(space, Mapping):
        content["space"] = {**space, **domains}
    else:  # a function, to which they are added without knowing what it varies
        content["search"] = {**(content.get("search") or {}), **domains}
    return {field: value for field, value in trial.items() if field not in domains}


def _objective_without_images(objective: object, say: Callable[[str], None]) -> object:
    """The objective of a search that has no images: the data-free score in place of what is measured on images."""
    given = SweepConfig.model_fields["objective"].default if objective is None else objective
    if any(metric.name == given and metric.measured_on for metric in METRICS):
        say(f"dataset=none: {given} needs images; the search goes by data_free_score")
        return "data_free_score"
    return given


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """The same, but what has been said is not said again: many cases have one data set."""
    said: set[str] = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_once


def _count_cases(content: Mapping[str, Any]) -> int | None:
    """Trials that a file's cases come to before flags; none where it lists none, or where that is refused anyway."""
    wanted, seeds = content.get("only") or content.get("cases"), content.get("seeds", [0])
    return len(wanted) * len(seeds) if isinstance(wanted, list | dict) and isinstance(seeds, list) else None


def _refuse_seeds(where: Sequence[str]) -> None:
    """Each case runs once with each seed: what a search has instead would only give the sweep another id.

    Args:
        where: It was said all the same.

    Raises:
        ConfigError: somewhere.
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
    """A search whose trials differ, or that has one trial.

    Args:
        sweep: As it was read.
        trial: What its file fixes.
        assigned: What ``--set`` fixes.
        path: The file.
        given_by: What to call the sweep's fields that were given.
        say: Is told what is no longer searched.

    Raises:
        ConfigError: the file fixes what its space varies, or asks for one trial again and again.
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
    """The fixed fields, each value in its field's type, so that 2, 2.0 and "2" are one setting.

    Where they do not go together with the defaults of other fields, some of ``searched`` have to fit.
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
        # Bounds that span two fields have no field of their own; what was said last is then the likelier cause.
        blamed = {str(finding["loc"][0]) if finding["loc"] else "" for finding in error.errors()}
        by_flag = assigned and not blamed & (from_file.keys() - assigned.keys())
        raise config_error(error, model, "--set" if by_flag else origin) from error
    return {field: getattr(config, field) for field in model.model_fields if field in config.model_fields_set}
