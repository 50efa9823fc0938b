"""The Ray cluster that a sweep runs on: an existing cluster, or a Ray started on this machine for the sweep."""

from __future__ import annotations
