"""Prices of machines by type, in USD an hour, read from a file with a date, since prices change."""

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
"""File with the prices that come with the package."""

Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The properties of a node on which its price depends."""

    name: str
    """The cloud's name of the machine type; without one, the name of the node's group in the cluster, else the host name."""

    spot: bool
    """Whether the machine is a spot instance: cheaper, but preempted when the cloud needs it."""

    cpus: float
    gpus: float

    def share(self, *, cpus: float, gpus: float) -> float:
        """Return the share of the machine that a trial takes: of its GPUs, or of its CPU cores for a trial without GPUs.

        The share is at most 1.
        """
        wanted, there = (gpus, self.gpus) if gpus > 0 else (cpus, self.cpus)
        return min(1.0, wanted / there) if there else 1.0

    def __str__(self) -> str:
        return f"{self.name} ({'spot' if self.spot else 'on demand'})"


class Price(BaseModel):
    """Price of one machine type, in USD an hour, and the training speed of one of its GPUs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: Annotated[float, Field(gt=0)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0
    on_demand: Usd | None = None
    spot: Usd | None = None
    tflops: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Float32 FLOPs of one GPU in training, in 10^12 a second."""

    gb_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Bytes that the operations of one GPU write, in 10^9 a second."""

    @model_validator(mode="after")
    def _check_rate(self) -> Self:
        if (self.tflops is None) != (self.gb_per_second is None):
            raise ValueError("tflops and gb_per_second describe a GPU's speed only together; one of them is missing")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    machines: dict[str, Price]
    as_of: date | None = None
    region: str = ""


@dataclass(frozen=True, kw_only=True)
class PriceList:
    """Prices by machine type."""

    prices: Mapping[str, Price]

    def hour(self, machine: Machine) -> float | None:
        """Return the price of an hour of a machine in USD; None if it is not known."""
        price = self.prices.get(machine.name)
        if price is None:
            return None
        return price.spot if machine.spot else price.on_demand

    def machines(self) -> list[Machine]:
        """Return every machine type with a price: once on demand, once as a spot instance, if that has a price."""
        return [
            Machine(name=name, spot=spot, cpus=price.cpus, gpus=price.gpus)
            for name, price in self.prices.items()
            for spot, usd in ((True, price.spot), (False, price.on_demand))
            if usd is not None
        ]


def read_prices(path: Path | None = None) -> PriceList:
    """Return the package's prices, overridden by those of the user's own file.

    Raises:
        ValueError: the file cannot be read or is not a price list; the message names the file and the error.
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
    """Return the machine that a node is: its type, market and size.

    Args:
        node: An entry of ``ray.nodes()``.
        description: The cluster's description, as ``ray up`` takes it; empty if there is none.
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

    The user's own machines are listed by host name or address.

    Args:
        description: The cluster's description, as ``read_description`` returns it.
        prices: Source of the sizes of machines for which the description has none. A machine without a size in either has 0
            CPU cores and GPUs.
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
