"""Keep ``trainables.datasets`` importable, as packages that bring data sets import it."""

from __future__ import annotations

from trainables.config.datasets import DatasetSpec, Normalisation

__all__ = ["DatasetSpec", "Normalisation"]
