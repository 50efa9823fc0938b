"""Costs of trials: the ledger of past costs, estimates of future costs, and spending limits."""

from __future__ import annotations
