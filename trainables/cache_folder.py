"""Where this user's copies and compiled code lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/zskt`` or ``~/.cache/zskt``; it need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "zskt"


def keep_compiled_code_private() -> None:
    """Have torch keep compiled code in the cache folder, unless the user has named another or it cannot be made.

    By itself torch takes a folder in the shared temporary folder, whose name everybody can foresee, and runs what it finds
    there. To be called before torch is used.
    """
    folder = cache_folder()
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if os.access(there, os.W_OK):
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "torchinductor"))
