"""Options that say what would be run, once for all commands that ask about a sweep: ``sweep``, ``plan``, ``doctor``."""

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
    """What changes a sweep, or where it is."""

    storage: Storage = None
    sweep_id: Annotated[
        str | None,
        typer.Option(help="Name of the sweep; the same name goes on with the same sweep. Default: from the settings."),
    ] = None
    num_trials: Annotated[int | None, typer.Option(help="Trials in all, of a search; more than before extends it.")] = (
        None
    )
    seed: Annotated[int | None, typer.Option(help="Seed of a search's sampler and of every trial.")] = None
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Fix a field of the trial, and take it out of the search."),
    ] = None
    search: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=DOMAIN", help="Search a field: temperature=1:8:log or student_steps=1,5,10."),
    ] = None
    objective: Objective = None
    warm_start: Annotated[
        list[str] | None,
        typer.Option(metavar="SWEEP", help="Let the sampler begin with what this sweep found; may be given again."),
    ] = None
    cpus: Cpus = None
    gpus: Gpus = None
    budget_usd: Annotated[
        float | None, typer.Option(metavar="USD", help="What all trials may cost together; more later goes on.")
    ] = None
    budget_gpu_hours: Annotated[
        float | None, typer.Option(metavar="HOURS", help="GPU hours that all trials may take together, likewise.")
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
        """The sweep that a command names.

        Args:
            preset_or_file: See ``load_sweep``.
            further: Flags that the command has beside these.
            say: See ``load_sweep``.

        Raises:
            ConfigError: the sweep or an option is wrong.
        """
        # pydantic and the config take as long to load as all else that --help needs.
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
        """Take the copies that a sweep keeps of files of the user's own where they are trusted, or where one is missing here
        say so.

        Raises:
            SweepMismatchError: a file is missing, and its copy is not trusted.
        """
        # What is slow to load waits until it is known to be needed.
        from orchestrator.inputs.own_code import take_missing_code
        from orchestrator.storage import SweepStore, find_storage

        take_missing_code(
            SweepStore(find_storage(storage_config(storage)), sweep_id), trusted_code=self.trust_code or ()
        )

    def checked(self, sweep: SweepConfig) -> tuple[SweepConfig, SweepStore]:
        """The sweep as it would begin or go on, and where, once all has been looked at that can be before a start.

        Raises:
            ConfigError, NetworkError: what ``zskt sweep`` would refuse at its beginning, in the same words.
        """
        import optuna  # these bring torch and Ray

        # What is slow to load waits until the arguments are known to be right.
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
    """What changes a sweep of cases."""

    scale: Annotated[
        float | None,
        typer.Option(help="Share of every training that is run, in (0, 1]; below 1 a verdict is by learning curve."),
    ] = None
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds, from 0 on. Default: the preset's.")] = None
    only: Annotated[list[str] | None, typer.Option(metavar="CASE", help="This case alone; may be given again.")] = None
    teachers: Teachers = None

    @property
    def flags(self) -> dict[str, Any]:
        """As fields of ``SweepConfig``."""
        return {
            "scale": self.scale,
            "seeds": list(range(self.seeds)) if self.seeds else None,
            "only": self.only or None,
            "teachers": teachers_by_network(self.teachers or []) or None,
        }


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """What trials run on. It changes no number and no name."""

    backend: Annotated[
        Literal["ray", "inline"],
        typer.Option(help="ray: in processes of a cluster or this machine. inline: in this process, to debug trials."),
    ] = "ray"
    address: Address = None
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at once at most. Default: as many as find room; with --backend inline 1."),
    ] = None

    @property
    def choice(self) -> BackendChoice:
        """As ``run_sweep`` takes them.

        Raises:
            ConfigError: they do not go together.
        """
        from orchestrator.run.sweep import BackendChoice  # brings torch

        if self.backend == "inline" and self.address is not None:
            raise ConfigError("--address names a Ray cluster, and --backend inline uses none: leave one of them out")
        return BackendChoice(name=self.backend, address=self.address, concurrency=self.concurrency)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of each dataclass among its parameters as parameters, as typer wants them."""
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
    """Those that were given, as one types them."""
    options = {parameter.name: parameter.annotation.__metadata__[0] for parameter in _parameters(type(bundle))}
    return [_typed(name, options[name]) for name in options if getattr(bundle, name)]


def _typed(name: str, option: Any) -> str:
    """How an option is typed; typer has the first of the names that it is given for its default, in an annotation."""
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
