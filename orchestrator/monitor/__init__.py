"""Display of a sweep for people: live, from its storage, in a dashboard, or by a webhook."""

from __future__ import annotations
