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
"""From and to; the same twice where it is known."""

CORE = Rate(flops=120e9, bytes=4e9)
"""One CPU core in training: about what ``docs/performance.md`` has of a server with AVX-512, and a little less."""

_SPREAD = 3**0.5
"""What was counted is foretold as a span from this part of it to so many times it: a factor of 3."""


@dataclass(frozen=True, kw_only=True)
class Pricing:
    """Holds the machines on which a sweep may run, with what they cost and how fast they are."""

    machines: Sequence[Machine]
    prices: PriceList
    named: bool = True
    """Whether a cluster was named or joined; else they are all that have a price."""

    own: bool = False
    """Whether they are machines of one's own, which rows know by their hosts' names."""

    unsized: Sequence[str] = ()
    """Those of them of which nobody says how large they are."""

    capacity: Capacity | None = None
    """What the cluster may hold; none where its description names no sizes."""

    @property
    def has_gpus(self) -> bool:
        """Whether any of them has a GPU."""
        return any(machine.gpus >= 1 for machine in self.machines)

    def fitting(self, *, cpus: float, gpus: float) -> list[Machine]:
        """Those that hold a trial of that size, or may, as nobody says how large they are."""
        return [m for m in self.machines if m.name in self.unsized or (m.cpus >= cpus and m.gpus >= gpus)]

    def seconds(self, work: Work, *, cpus: float, gpus: float) -> Span | None:
        """How long the work takes a trial of that size, foretold: from the fastest of them to the slowest.

        None where no machine holds such a trial. A GPU whose speed nobody says is taken for any of which somebody does.
        """
        spans = [
            span for machine in self.fitting(cpus=cpus, gpus=gpus) if (span := self._seconds(machine, work, cpus, gpus))
        ]
        if not gpus:
            return _about(CORE, work, cpus)
        return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None

    def usd(self, work: Work, *, cpus: float, gpus: float) -> Span | None:
        """What the work costs, foretold: from the cheapest of the machines that hold such a trial to the dearest.

        None where no such machine has a price.
        """
        priced = [
            (hour, self._seconds(machine, work, cpus, gpus))
            for machine in self.fitting(cpus=cpus, gpus=gpus)
            if (hour := self._hour(machine, cpus, gpus)) is not None
        ]
        return _widest([(hour * span[0] / 3600, hour * span[1] / 3600) for hour, span in priced if span])

    def usd_of_time(self, seconds: Span, *, cpus: float, gpus: float) -> Span | None:
        """What so many seconds of a trial of that size cost, likewise."""
        hours = [self._hour(machine, cpus, gpus) for machine in self.fitting(cpus=cpus, gpus=gpus)]
        return _widest([(hour * seconds[0] / 3600, hour * seconds[1] / 3600) for hour in hours if hour is not None])

    def without_price(self, *, cpus: float, gpus: float) -> list[str]:
        """Those that hold such a trial and have no price."""
        fitting = {m for m in self.fitting(cpus=cpus, gpus=gpus) if m.name not in self.unsized}
        return sorted(str(machine) for machine in fitting if self.prices.hour(machine) is None)

    def without_rate(self, *, cpus: float, gpus: float) -> list[str]:
        """Of those that hold such a trial, the ones with GPUs that nobody says the speed of."""
        fitting = self.fitting(cpus=cpus, gpus=gpus)
        return sorted({machine.name for machine in fitting if gpus and machine.name not in self._rates})

    @cached_property
    def _rates(self) -> dict[str, Rate]:
        """Of a GPU, by type of machine."""
        return {
            name: Rate(flops=1e12 * price.tflops, bytes=1e9 * price.gb_per_second)
            for name, price in self.prices.prices.items()
            if price.tflops is not None and price.gb_per_second is not None
        }

    def _hour(self, machine: Machine, cpus: float, gpus: float) -> float | None:
        """What an hour of a trial of that size costs there."""
        hour = self.prices.hour(machine)
        return None if hour is None else hour * machine.share(cpus=cpus, gpus=gpus)

    def _seconds(self, machine: Machine, work: Work, cpus: float, gpus: float) -> Span | None:
        if not gpus:
            return _about(CORE, work, cpus)
        known = self._rates.get(machine.name)
        rates = [known] if known else list(self._rates.values())
        # A trial computes on one GPU; with a part of one as fast as alone, where its neighbours leave it idle enough.
        return _widest([_about(rate, work, part) for rate in rates for part in (1.0, min(1.0, gpus))])


NO_PRICES = Pricing(machines=(), prices=PriceList(prices={}))


def _widest(spans: Sequence[Span | None]) -> Span | None:
    """From the smallest to the largest of those that are known; none where none is."""
    known = [span for span in spans if span is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _about(rate: Rate, work: Work, units: float) -> Span:
    """So many cores, or such a part of a GPU."""
    middle = rate.times(units if units < 1 else int(units)).seconds(work)
    return middle / _SPREAD, middle * _SPREAD


def prices_of(sweep: SweepConfig) -> PriceList:
    """The prices by which a sweep counts.

    Raises:
        ConfigError: its own file with prices is none.
    """
    try:
        return read_prices(expand_home(sweep.prices) if sweep.prices else None)
    except ValueError as error:
        raise ConfigError(f"prices: {error}") from error


def find_pricing(sweep: SweepConfig, description: Path | None) -> Pricing:
    """Find the machines of a cluster's description; without one, of the cluster whose head this is, else all with a price.

    Raises:
        ConfigError: one of the files cannot be read, or describes no cluster.
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
    """A cluster's description; where none is named, that of the cluster whose head this is; empty elsewhere.

    Raises:
        ConfigError: it cannot be read, or describes no cluster.
    """
    if description and not description.is_file():
        raise ConfigError(f"--cluster {description}: there is no such file")
    try:
        return read_description(description)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"--cluster {description}: cannot be read: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise ConfigError(f"--cluster {description}: {error}") from error
