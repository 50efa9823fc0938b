"""Files of the user's own that a sweep runs: which they are, their copies on storage, and whether they are the same ones.

A name such as ``my_nets.py:make`` says where a file lies on the machine of the driver. Its content goes to wherever trials
run, and a copy to the sweep's storage with its SHA-256 in the rows. Code that comes from a storage is another matter than
data: whoever may write there could have the next user run anything. So a copy runs only if the user names its checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError, SweepMismatchError
from orchestrator.results import SweepResults
from orchestrator.storage import SweepStore
from trainables.config.plugins import file_path, files_in, place_copies

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_SHOWN_DIGITS = 12
"""Of a checksum in a sentence, where nobody has to type it."""


def read_code(sweep: SweepConfig, domains: Mapping[str, BaseDistribution]) -> dict[str, bytes]:
    """Return the contents of all files on which the numbers of a sweep's trials depend, by their names.

    Which trials there are is another matter: a space, a sampler or a scheduler may be mended and the sweep go on.

    Args:
        sweep: What all trials share, or its cases.
        domains: What a search varies; a network may be among the choices.

    Raises:
        ConfigError: one of them cannot be read.
    """
    choices = chain.from_iterable(getattr(domain, "choices", ()) for domain in domains.values())
    of_trials = chain.from_iterable(config.model_dump().values() for config in sweep.configs())
    try:
        return {file: file_path(file).read_bytes() for file in files_in(chain(of_trials, choices))}
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error


def checksums(code: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file, in hexadecimal digits."""
    return {file: hashlib.sha256(content).hexdigest() for file, content in code.items()}


def keep_code(sweep_store: SweepStore, code: Mapping[str, bytes]) -> None:
    """Keep a copy of each file on the sweep's storage.

    Raises:
        StorageOutageError, StorageRefusedError: storage does not take it.
    """
    for file, sha256 in checksums(code).items():
        key = _key(file, sha256)
        if not sweep_store.code.exists(key):
            sweep_store.code.write(key, code[file])


def settle_code(sweep_store: SweepStore, trusted: Collection[str] = ()) -> None:
    """Have this process run the files of the user's own that a sweep was begun with, or those that the user trusts instead.

    A sweep that has not begun, or runs no such file, has none to settle.

    Args:
        sweep_store: The sweep.
        trusted: SHA-256 of files that may run: of copies on storage where the file is not here or another one, or of a file
            here that is another one.

    Raises:
        SweepMismatchError: a file is not here, or is another one, and neither it nor the copy is trusted.
        ConfigError: a checksum is none, or the copy that is trusted is not on storage or has another checksum.
    """
    for text in trusted:
        if len(text) != hashlib.sha256().digest_size * 2 or not set(text) <= set("0123456789abcdef"):
            raise ConfigError(f"--trust-code {text}: expected the 64 hexadecimal digits of a SHA-256")
    sessions = SweepResults(sweep_store).sessions()
    for file, then in (sessions[-1].code if sessions else {}).items():
        now = _checksum_here(file)
        if now == then:
            continue
        if then in trusted:
            place_copies({file: _copy(sweep_store, file, then)})
        elif now is None:
            raise SweepMismatchError(
                f"sweep {sweep_store.sweep_id} runs {file}, and there is no such file in {Path.cwd()}: put it there. Its "
                f"copy is {sweep_store.code.shown(_key(file, then))}; read it, and if you trust it, add --trust-code {then}"
            )
        elif now not in trusted:
            raise SweepMismatchError(
                f"sweep {sweep_store.sweep_id} was begun with another {file} (sha256 {then[:_SHOWN_DIGITS]} then, "
                f"{now[:_SHOWN_DIGITS]} now). Bring it back as it was (its copy is "
                f"{sweep_store.code.shown(_key(file, then))}), or give this sweep a name of its own with --sweep-id. If the "
                f"change alters no number, go on with it: --trust-code {now}; to run the copy: --trust-code {then}"
            )


def _checksum_here(file: str) -> str | None:
    try:
        return hashlib.sha256(file_path(file).read_bytes()).hexdigest()
    except OSError:
        return None


def _copy(sweep_store: SweepStore, file: str, sha256: str) -> bytes:
    key = _key(file, sha256)
    try:
        content = sweep_store.code.read(key)
    except FileNotFoundError as error:
        raise ConfigError(
            f"--trust-code {sha256}: the copy of {file} is gone: {sweep_store.code.shown(key)}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ConfigError(
            f"--trust-code {sha256}: {sweep_store.code.shown(key)} has sha256 {found}: it is not the file that the sweep "
            "was begun with, and is not run"
        )
    return content


def _key(file: str, sha256: str) -> str:
    return f"{sha256}/{Path(file).name}"
