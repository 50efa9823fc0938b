"""What differs between AWS, Google Cloud, Kubernetes and one's own machines: types, spot, notices of preemption, quotas."""

from __future__ import annotations
