"""Where torch keeps compiled code on this machine: where nobody else can write."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from trainables.storage.user_cache import cache_folder


def keep_compiled_code_private() -> None:
    """Have torch keep compiled code in the cache folder, unless the user has named another.

    By itself torch takes a folder in the shared temporary folder, whose name everybody can foresee, and runs what it finds
    there. Where the cache folder cannot be written, code is kept in a folder of this process alone. To be called before
    torch is used.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    try:
        folder = cache_folder() / "torchinductor"
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # no home, or one that belongs to somebody else
        writable = False
    if not writable:
        folder = Path(tempfile.mkdtemp(prefix="zskt-compiled-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
