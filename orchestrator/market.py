"""The machines on which a sweep might run, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.description import read_description
from cluster.prices import Machine, PriceList, described_machines, read_prices
from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Market:
    """The machines on which a sweep might run, and what they cost."""

    machines: Iterable[Machine]
    prices: PriceList

    def range(self, seconds: float, *, cpus: float, gpus: float) -> tuple[float, float] | None:
        """What so many seconds of a trial of that size cost, on the cheapest machine that holds one and on the dearest.

        None where no such machine has a price.
        """
        fitting = [machine for machine in self.machines if machine.cpus >= cpus and machine.gpus >= gpus]
        hours = [(machine.share(cpus=cpus, gpus=gpus), self.prices.hour(machine)) for machine in fitting]
        costs = [seconds / 3600 * share * hour for share, hour in hours if hour is not None]
        return (min(costs), max(costs)) if costs else None


NO_MARKET = Market(machines=(), prices=PriceList(prices={}))


def prices_of(sweep: SweepConfig) -> PriceList:
    """The prices by which a sweep counts.

    Raises:
        ConfigError: its own file with prices is none.
    """
    try:
        return read_prices(Path(sweep.prices).expanduser() if sweep.prices else None)
    except ValueError as error:
        raise ConfigError(f"prices: {error}") from error


def find_market(sweep: SweepConfig, description: Path | None) -> Market:
    """The machines of a cluster's description; without one those of the cluster whose head this is, else all with a price.

    Raises:
        ConfigError: one of the files cannot be read.
    """
    prices = prices_of(sweep)
    described = described_machines(read_cluster(description))
    return Market(machines=tuple(described.values()) or prices.machines(), prices=prices)


def read_cluster(description: Path | None) -> dict[str, Any]:
    """A cluster's description; where none is named, that of the cluster whose head this is; empty elsewhere.

    Raises:
        ConfigError: it cannot be read.
    """
    if description and not description.is_file():
        raise ConfigError(f"--cluster {description}: there is no such file")
    try:
        return read_description(description)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"--cluster {description}: cannot be read: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise ConfigError(f"--cluster {description}: {error}") from error
