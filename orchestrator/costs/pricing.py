"""Prices and rough speeds of the machines on which a sweep may run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from cluster.capacity import Capacity, promised_capacity
from cluster.description import read_description
from cluster.prices import Machine, PriceList, described_machines, read_prices
from cluster.providers.registry import provider_of
from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError
from trainables.compute.work import Rate, Work
from trainables.storage.addresses import expand_home

Span = tuple[float, float]
"""A range from the least to the most; both ends are equal for an exact value."""

CORE = Rate(flops=120e9, bytes=4e9)
"""Speed of one CPU core in training: a little below what ``docs/performance.md`` measures on a server with AVX-512."""

_SPREAD = 3**0.5
"""Factor by which an estimate from counted operations is divided and multiplied to give a range, whose ends differ by 3."""


@dataclass(frozen=True, kw_only=True)
class Pricing:
    """The machines on which a sweep may run, with their prices and speeds."""

    machines: Sequence[Machine]
    prices: PriceList
    named: bool = True
    """Whether a cluster was named or joined. If not, ``machines`` are all machines with a price."""

    own: bool = False
    """Whether the machines are the user's own, which result rows name by their host names."""

    unsized: Sequence[str] = ()
    """Names of machines whose size is not known."""

    capacity: Capacity | None = None
    """Largest capacity of the cluster; None if its description leaves sizes out."""

    @property
    def has_gpus(self) -> bool:
        """Whether any of the machines has a GPU."""
        return any(machine.gpus >= 1 for machine in self.machines)

    def fitting(self, *, cpus: float, gpus: float) -> list[Machine]:
        """Return the machines that can hold a trial with these resources, including those of unknown size."""
        return [m for m in self.machines if m.name in self.unsized or (m.cpus >= cpus and m.gpus >= gpus)]

    def seconds(self, work: Work, *, cpus: float, gpus: float) -> Span | None:
        """Return the estimated seconds that a trial with these resources takes for the work: fastest to slowest machine.

        A GPU of unknown speed may be as fast as any GPU of known speed.

        Returns:
            The range; None if no machine can hold a trial with GPUs.
        """
        spans = [
            span for machine in self.fitting(cpus=cpus, gpus=gpus) if (span := self._seconds(machine, work, cpus, gpus))
        ]
        if not gpus:
            return _about(CORE, work, cpus)
        return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None

    def usd(self, work: Work, *, cpus: float, gpus: float) -> Span | None:
        """Return the estimated cost of the work in USD: cheapest to dearest machine that can hold the trial.

        Returns:
            The range; None if no such machine has a price.
        """
        priced = [
            (hour, self._seconds(machine, work, cpus, gpus))
            for machine in self.fitting(cpus=cpus, gpus=gpus)
            if (hour := self._hour(machine, cpus, gpus)) is not None
        ]
        return _widest([(hour * span[0] / 3600, hour * span[1] / 3600) for hour, span in priced if span])

    def usd_of_time(self, seconds: Span, *, cpus: float, gpus: float) -> Span | None:
        """Return the cost in USD of a trial with these resources that takes these seconds; None as for ``usd``."""
        hours = [self._hour(machine, cpus, gpus) for machine in self.fitting(cpus=cpus, gpus=gpus)]
        return _widest([(hour * seconds[0] / 3600, hour * seconds[1] / 3600) for hour in hours if hour is not None])

    def without_price(self, *, cpus: float, gpus: float) -> list[str]:
        """Return the machines of known size that can hold such a trial and have no price."""
        fitting = {m for m in self.fitting(cpus=cpus, gpus=gpus) if m.name not in self.unsized}
        return sorted(str(machine) for machine in fitting if self.prices.hour(machine) is None)

    def without_rate(self, *, cpus: float, gpus: float) -> list[str]:
        """Return the names of the machines that can hold such a trial and have GPUs of unknown speed."""
        fitting = self.fitting(cpus=cpus, gpus=gpus)
        return sorted({machine.name for machine in fitting if gpus and machine.name not in self._rates})

    @cached_property
    def _rates(self) -> dict[str, Rate]:
        """Speed of one GPU by type of machine, as far as it is known."""
        return {
            name: Rate(flops=1e12 * price.tflops, bytes=1e9 * price.gb_per_second)
            for name, price in self.prices.prices.items()
            if price.tflops is not None and price.gb_per_second is not None
        }

    def _hour(self, machine: Machine, cpus: float, gpus: float) -> float | None:
        """Return the price in USD of an hour of a trial with these resources on a machine; None if it is not known."""
        hour = self.prices.hour(machine)
        return None if hour is None else hour * machine.share(cpus=cpus, gpus=gpus)

    def _seconds(self, machine: Machine, work: Work, cpus: float, gpus: float) -> Span | None:
        if not gpus:
            return _about(CORE, work, cpus)
        known = self._rates.get(machine.name)
        rates = [known] if known else list(self._rates.values())
        # A trial computes on one GPU. With a part of a GPU it may be as fast as alone, if the others leave the GPU idle.
        return _widest([_about(rate, work, part) for rate in rates for part in (1.0, min(1.0, gpus))])


NO_PRICES = Pricing(machines=(), prices=PriceList(prices={}))


def _widest(spans: Sequence[Span | None]) -> Span | None:
    """Return the range from the least to the most of all known ranges; None if none is known."""
    known = [span for span in spans if span is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _about(rate: Rate, work: Work, units: float) -> Span:
    """Return the estimated seconds for the work on ``units`` cores, or on that part of a GPU."""
    middle = rate.times(units if units < 1 else int(units)).seconds(work)
    return middle / _SPREAD, middle * _SPREAD


def prices_of(sweep: SweepConfig) -> PriceList:
    """Return the prices by which a sweep's costs are counted.

    Raises:
        ConfigError: the sweep's own file of prices is not valid.
    """
    try:
        return read_prices(expand_home(sweep.prices) if sweep.prices else None)
    except ValueError as error:
        raise ConfigError(f"prices: {error}") from error


def find_pricing(sweep: SweepConfig, description: Path | None) -> Pricing:
    """Return the machines of a cluster's description, by default of the cluster whose head this is, else all with a price.

    Raises:
        ConfigError: a file cannot be read, or describes no cluster.
    """
    prices = prices_of(sweep)
    cluster = read_cluster(description)
    described = described_machines(cluster, prices)
    if not described:
        return Pricing(machines=prices.machines(), prices=prices, named=False)
    types: Mapping[str, Any] = cluster.get("available_node_types", {})
    without_size = {machine.name for group, machine in described.items() if "resources" not in types.get(group, {})}
    return Pricing(
        machines=list(dict.fromkeys(described.values())),
        prices=prices,
        own=provider_of(cluster).own_machines,
        unsized=sorted(without_size - prices.prices.keys()),
        capacity=None if without_size else promised_capacity(cluster, Capacity(fixed=())),
    )


def read_cluster(description: Path | None) -> dict[str, Any]:
    """Return a cluster's description, by default that of the cluster whose head this is; empty if this is no head.

    Raises:
        ConfigError: the description cannot be read, or describes no cluster.
    """
    if description and not description.is_file():
        raise ConfigError(f"--cluster {description}: there is no such file")
    try:
        return read_description(description)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"--cluster {description}: cannot be read: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise ConfigError(f"--cluster {description}: {error}") from error
