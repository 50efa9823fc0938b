"""The work of the commands that take more than one call, such as confirm, rerun, reproduce, evaluate and doctor."""

from __future__ import annotations
