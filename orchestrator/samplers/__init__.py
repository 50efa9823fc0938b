"""How settings are proposed: one module for each kind of sampler, and a registry. Optuna is loaded when one is built."""

from __future__ import annotations
