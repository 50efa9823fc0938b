"""Packages on the path with entry points, as somebody else's installation has them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def install_networks(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, names: dict[str, str]) -> None:
    """Put a package on the path that brings networks.

    Args:
        folder: Where it lies; no other package does.
        monkeypatch: Takes it off the path again.
        module: Text of its module ``their_networks``.
        names: What of the module is offered under which name.
    """
    (folder / "their_networks.py").write_text(module)
    metadata = folder / "their_networks-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-networks\nVersion: 1.0\n")
    entries = [f"{name} = their_networks:{attribute}" for name, attribute in names.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[zskt.networks]", *entries]))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "their_networks", raising=False)
