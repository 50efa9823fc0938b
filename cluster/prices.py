"""What an hour of a machine costs, by its type: from a file with a date, since prices change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.providers.base import MARKET_LABEL
from cluster.providers.registry import provider_of

PRICES = Path(__file__).with_name("prices.yaml")
"""The prices that come with the package."""

Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A node, as far as its price goes."""

    name: str
    """The cloud's name of the type, else what the cluster calls its group, else the host's name."""

    spot: bool
    """Whether it is a spot machine: cheaper, and taken away when the cloud needs it."""

    cpus: float
    gpus: float

    def share(self, *, cpus: float, gpus: float) -> float:
        """How much of it a trial of that size takes: its part of the GPUs, or without GPUs, of the CPU cores. At most 1."""
        wanted, there = (gpus, self.gpus) if gpus > 0 else (cpus, self.cpus)
        return min(1.0, wanted / there) if there else 1.0

    def __str__(self) -> str:
        return f"{self.name} ({'spot' if self.spot else 'on demand'})"


class Price(BaseModel):
    """Of one type of machine, in USD an hour, and how fast one of its GPUs trains."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: Annotated[float, Field(gt=0)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0
    on_demand: Usd | None = None
    spot: Usd | None = None
    tflops: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Float32 operations of one GPU in training, in 10^12 a second."""

    gb_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Bytes that they write, in 10^9 a second."""

    @model_validator(mode="after")
    def _check_rate(self) -> Self:
        if (self.tflops is None) != (self.gb_per_second is None):
            raise ValueError("tflops and gb_per_second say how fast a GPU is together; one of them is missing")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    machines: dict[str, Price]
    as_of: date | None = None
    region: str = ""


@dataclass(frozen=True, kw_only=True)
class PriceList:
    """Prices by type of machine."""

    prices: Mapping[str, Price]

    def hour(self, machine: Machine) -> float | None:
        """Return the price of an hour of a machine in USD; None if it is not known."""
        price = self.prices.get(machine.name)
        if price is None:
            return None
        return price.spot if machine.spot else price.on_demand

    def machines(self) -> list[Machine]:
        """Every type that has a price, once for each way to rent it."""
        return [
            Machine(name=name, spot=spot, cpus=price.cpus, gpus=price.gpus)
            for name, price in self.prices.items()
            for spot, usd in ((True, price.spot), (False, price.on_demand))
            if usd is not None
        ]


def read_prices(path: Path | None = None) -> PriceList:
    """Return the package's prices, overridden by those of the user's own file.

    Raises:
        ValueError: the file cannot be read or is not a price list; the message says which and what is wrong.
    """
    prices = _read(PRICES)
    return PriceList(prices=prices | _read(path) if path else prices)


def _read(path: Path) -> dict[str, Price]:
    try:
        return _File.model_validate(yaml.safe_load(path.read_text())).machines
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"{path}: {where}: {first['msg']}. Expected machines: {{NAME: {{cpus: 4, gpus: 1, on_demand: 0.8, spot: 0.4}}}} "
            "in USD an hour"
        ) from error


def machine_of(node: Mapping[str, Any], description: Mapping[str, Any]) -> Machine:
    """Return the kind of machine that a node is.

    Args:
        node: One of ``ray.nodes()``.
        description: The cluster's, as ``ray up`` takes it; empty where there is none.
    """
    labels, resources = node.get("Labels", {}), node["Resources"]
    group = labels.get("ray.io/node-group", "")
    machine = described_machines(description).get(group) or Machine(
        name=group or node["NodeManagerHostname"],
        spot=False,
        cpus=0,
        gpus=0,
    )
    spot = machine.spot or _says_spot(labels)
    return replace(machine, spot=spot, cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0))


def described_machines(description: Mapping[str, Any], prices: PriceList | None = None) -> dict[str, Machine]:
    """Return the machines that a cluster may have, the head's among them, by node type; empty if none are named.

    Machines of one's own go by their hosts' names or addresses.

    Args:
        description: The cluster's, as ``read_description`` gives it.
        prices: Say how large the machines are whose sizes the description leaves out; without a word of both: 0.
    """
    sizes = prices.prices if prices else {}
    provider = provider_of(description)
    found = {host: _machine(host, {}, sizes, spot=False) for host in provider.hosts(description)}
    for group, node in description.get("available_node_types", {}).items():
        config = node.get("node_config", {})
        spot = provider.is_spot(config) or _says_spot(node.get("labels", {}))
        found[group] = _machine(provider.machine_type(config) or group, node, sizes, spot=spot)
    return found


def _machine(name: str, node: Mapping[str, Any], sizes: Mapping[str, Price], *, spot: bool) -> Machine:
    size, resources = sizes.get(name), node.get("resources", {})
    return Machine(
        name=name,
        spot=spot,
        cpus=resources.get("CPU", size.cpus if size else 0.0),
        gpus=resources.get("GPU", size.gpus if size and "CPU" not in resources else 0.0),
    )


def _says_spot(labels: Mapping[str, str]) -> bool:
    return "spot" in labels.get(MARKET_LABEL, "").lower()
