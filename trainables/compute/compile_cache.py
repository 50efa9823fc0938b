"""Folder in which torch keeps compiled code on this machine, where no other user can write."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from trainables.storage.user_cache import cache_folder


def keep_compiled_code_private() -> None:
    """Make torch keep compiled code in the cache folder, unless ``TORCHINDUCTOR_CACHE_DIR`` names another folder.

    By default torch uses a folder with a predictable name in the shared temporary folder and runs any code in that folder.
    If the cache folder cannot be written, a temporary folder of this process is used. To be called before torch is used.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    try:
        folder = cache_folder() / "torchinductor"
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # no home, or the home of another user
        writable = False
    if not writable:
        folder = Path(tempfile.mkdtemp(prefix="zskt-compiled-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
