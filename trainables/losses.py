"""Keep ``trainables.losses`` importable, as docs/toy_example.py once showed it."""

from __future__ import annotations

from trainables.training.losses import kl_divergence, log_probabilities

__all__ = ["kl_divergence", "log_probabilities"]
