"""Cloud-specific code: machine types, spot instances, preemption notices and quotas, for each cloud and own machines."""

from __future__ import annotations
