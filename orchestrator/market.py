"""What the machines cost on which a sweep runs."""

from __future__ import annotations

from pathlib import Path

from cluster.prices import PriceList, read_prices
from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError


def prices_of(sweep: SweepConfig) -> PriceList:
    """The prices by which a sweep counts.

    Raises:
        ConfigError: its own file with prices is none.
    """
    try:
        return read_prices(Path(sweep.prices).expanduser() if sweep.prices else None)
    except ValueError as error:
        raise ConfigError(f"prices: {error}") from error
