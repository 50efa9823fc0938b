"""Teachers and the images made from them: trained, published, kept."""

from __future__ import annotations
