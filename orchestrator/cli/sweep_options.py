"""Options that describe a sweep and its backend, shared by commands such as ``sweep``, ``plan`` and ``doctor``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from orchestrator.cli.options import (
    Address,
    Cpus,
    DataRoot,
    Gpus,
    Objective,
    Prices,
    Storage,
    Teachers,
    TrustCode,
    fetch_images,
    storage_config,
    teachers_by_network,
    with_resources,
)
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.config import SweepConfig
    from orchestrator.run.sweep import BackendChoice
    from orchestrator.storage import SweepStore


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options that change a sweep's settings, and those that say where its storage and data are."""

    storage: Storage = None
    sweep_id: Annotated[
        str | None,
        typer.Option(help="Id of the sweep; an id that exists resumes that sweep. Default: made from the settings."),
    ] = None
    num_trials: Annotated[int | None, typer.Option(help="Total trials of a search; a larger number extends it.")] = None
    seed: Annotated[int | None, typer.Option(help="Seed of a search's sampler and of all its trials.")] = None
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Fix a field of all trials instead of searching it; may be repeated."
        ),
    ] = None
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=DOMAIN",
            help="Search a field: temperature=1:8:log or student_steps=1,5,10; may be repeated.",
        ),
    ] = None
    objective: Objective = None
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SWEEP", help="Let the sampler learn from this sweep's completed trials; may be repeated."
        ),
    ] = None
    cpus: Cpus = None
    gpus: Gpus = None
    budget_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", help="Most that all trials together may cost; a larger budget resumes the sweep."),
    ] = None
    budget_gpu_hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS", help="Most GPU hours for all trials together; a larger budget resumes the sweep."
        ),
    ] = None
    prices: Prices = None
    data_root: DataRoot = None
    trust_code: TrustCode = None

    def load(
        self,
        preset_or_file: str,
        further: Mapping[str, Any] | None = None,
        *,
        say: Callable[[str], None] = lambda line: None,
    ) -> SweepConfig:
        """Load the sweep that a command names, with these options applied.

        Args:
            preset_or_file: See ``load_sweep``.
            further: Flags of the command that are not fields of this class.
            say: See ``load_sweep``.

        Raises:
            ConfigError: the sweep or an option is wrong.
        """
        # Imported here, since --help needs no config and pydantic doubles its time.
        from orchestrator.config.fields import check_sweep_id
        from orchestrator.config.loading import load_sweep

        if self.sweep_id is not None:
            check_sweep_id(self.sweep_id)
        budget = {"usd": self.budget_usd, "gpu_hours": self.budget_gpu_hours}
        flags = {
            "storage": self.storage,
            "num_trials": self.num_trials,
            "seed": self.seed,
            "objective": self.objective,
            "warm_start": self.warm_start or None,
            "budget": {key: value for key, value in budget.items() if value is not None} or None,
            "prices": self.prices,
            "data_root": self.data_root,
        }
        sweep = load_sweep(
            preset_or_file,
            flags={**flags, **(further or {})},
            assignments=self.assignments or (),
            search=self.search or (),
            fetch=fetch_images,
            say=say,
            settle=None if self.sweep_id is None else partial(self._settle, self.sweep_id),
        )
        return with_resources(sweep, self.cpus, self.gpus)

    def _settle(self, sweep_id: str, storage: Any) -> None:
        """Load the sweep's files of the user's own that are missing here, and those that ``--trust-code`` names.

        Raises:
            SweepMismatchError: a file is missing, and its copy on storage is not trusted.
        """
        # Imported here, so that a sweep without files of the user's own does without these slow imports.
        from orchestrator.inputs.own_code import take_missing_code
        from orchestrator.storage import SweepStore, find_storage

        take_missing_code(
            SweepStore(find_storage(storage_config(storage)), sweep_id), trusted_code=self.trust_code or ()
        )

    def checked(self, sweep: SweepConfig) -> tuple[SweepConfig, SweepStore]:
        """Return the sweep as it would start or resume, and its store, after all checks that need no start.

        Raises:
            ConfigError, NetworkError: ``zskt sweep`` would refuse to start; the message is the same.
        """
        import optuna  # this import and the following ones load torch and Ray

        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.inputs.own_code import check_code, read_code
        from orchestrator.run.checks import check_before_start
        from orchestrator.search.space import resolve_domains, values_in
        from orchestrator.storage import SweepStore, find_storage

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space, domains = resolve_domains(sweep)
        sweep_store = SweepStore(find_storage(sweep.storage), self.sweep_id or sweep.default_sweep_id)
        as_it_runs = check_before_start(sweep, sweep_store, domains)
        code = read_code(as_it_runs, values_in(space, as_it_runs.trial, domains))
        check_code(sweep_store, code, trusted_code=self.trust_code or (), say=lambda line: None)
        return as_it_runs, sweep_store


@dataclass(frozen=True, kw_only=True)
class CaseOptions:
    """Options that change a sweep of cases."""

    scale: Annotated[
        float | None,
        typer.Option(help="Share of each training to run, in (0, 1]; below 1, learning curves decide the verdict."),
    ] = None
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Number of seeds, counted from 0. Default: as in the preset or file.")
    ] = None
    only: Annotated[
        list[str] | None, typer.Option(metavar="CASE", help="Run this case only; may be repeated for more cases.")
    ] = None
    teachers: Teachers = None

    @property
    def flags(self) -> dict[str, Any]:
        """These options as fields of ``SweepConfig``."""
        return {
            "scale": self.scale,
            "seeds": list(range(self.seeds)) if self.seeds else None,
            "only": self.only or None,
            "teachers": teachers_by_network(self.teachers or []) or None,
        }


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """Options that choose where trials run. They change neither results nor ids."""

    backend: Annotated[
        Literal["ray", "inline"],
        typer.Option(help="ray: run trials in worker processes. inline: run them in this process, for debugging."),
    ] = "ray"
    address: Address = None
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Most trials at a time. Default: as many as fit; 1 with --backend inline."),
    ] = None

    @property
    def choice(self) -> BackendChoice:
        """These options as the argument ``backend`` of ``run_sweep``.

        Raises:
            ConfigError: the options exclude each other.
        """
        from orchestrator.run.sweep import BackendChoice  # imports torch

        if self.backend == "inline" and self.address is not None:
            raise ConfigError("--address names a Ray cluster, but --backend inline uses none; leave one of them out")
        return BackendChoice(name=self.backend, address=self.address, concurrency=self.concurrency)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter of a command that is a dataclass by that dataclass's fields, as typer needs them."""
    hints = get_type_hints(command, include_extras=True)
    bundles: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in bundles:
            parameters += _parameters(bundles[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def with_bundles(**given: Any) -> None:
        for name, bundle in bundles.items():
            given[name] = bundle(**{field.name: given.pop(field.name) for field in fields(bundle)})
        command(**given)

    with_bundles.__dict__["__signature__"] = inspect.Signature(parameters)
    with_bundles.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_bundles


def given_options(bundle: Any) -> list[str]:
    """Return the names of the options in a bundle that were given, as a user types them."""
    options = {parameter.name: parameter.annotation.__metadata__[0] for parameter in _parameters(type(bundle))}
    return [_typed(name, options[name]) for name in options if getattr(bundle, name)]


def _typed(name: str, option: Any) -> str:
    """Return the name of an option as a user types it.

    In an annotation, typer stores the first name that an option is given as the option's default.
    """
    named = [word for word in (option.default, *(option.param_decls or ())) if isinstance(word, str)]
    return named[0] if named else f"--{name.replace('_', '-')}"


def _parameters(bundle: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(bundle)
    ]
