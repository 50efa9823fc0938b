"""Files of the user's own that a sweep runs: finding them, copying them to storage, and checking that they are unchanged.

A name such as ``my_nets.py:make`` says where a file lies on the driver's machine. The file's content is sent to all machines
that run trials, a copy goes to the sweep's storage, and its SHA-256 is recorded with the sweep. Code from a storage needs
more care than data, since anybody who can write to the storage could make the next user run anything. A file that only the
settings on a storage name therefore runs only if the local file has the recorded checksum, and a copy from storage runs only
if the user names its checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError, SweepMismatchError
from orchestrator.results import KeptFile, SessionEvent, SweepResults
from orchestrator.storage import SweepStore
from orchestrator.storage.address import local_path
from trainables.system.own_files import OwnFile, files_in, hold, is_held, own_file, read_file

_SHOWN_DIGITS = 12
"""Digits of a checksum that a message shows if the user need not type it."""


def read_code(sweep: SweepConfig, further: Iterable[object] = ()) -> tuple[OwnFile, ...]:
    """Return all of the user's own files on which the results of a sweep's trials depend, sorted by name.

    The files of a space, a sampler or a scheduler are not among them, so that they may be edited before a resume.

    Args:
        sweep: The sweep; the recipes of teachers that it would train are included.
        further: Values that a search may give to fields of its trials.

    Raises:
        ConfigError: a file cannot be read.
    """
    configs = sweep.configs()
    trained = [sweep.teacher_config(c) for c in configs if c.teacher is not None and c.teacher_checkpoint is None]
    names = files_in([*(config.model_dump() for config in (*configs, *trained)), *further])
    try:
        return tuple(own_file(name) for name in sorted(names))
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error


def keep_code(sweep_store: SweepStore, code: Iterable[OwnFile]) -> None:
    """Write a copy of each file to the sweep's storage, unless an intact copy is there.

    Raises:
        StorageOutageError, StorageRefusedError: the storage does not accept the copy.
    """
    for file in code:
        key = _key(file.name, file.sha256)
        if _kept(sweep_store, key) != file.content:
            sweep_store.code.write(key, file.content)


def check_code(
    sweep_store: SweepStore, code: Iterable[OwnFile], *, trusted_code: Collection[str], say: Callable[[str], None]
) -> None:
    """Refuse to resume a sweep with other files than it ran last. Before its first report the files may be edited.

    Args:
        sweep_store: Store of the sweep.
        code: Files that its trials would run now.
        trusted_code: SHA-256 of files that may run although the sweep ran another version.
        say: Prints a warning about a file of which no checksum was recorded.

    Raises:
        SweepMismatchError: a file differs from the one that the sweep ran.
    """
    trusted = _check_digits(trusted_code)
    code = list(code)
    # Only the keys of reports are listed, since a long sweep has thousands of reports.
    if not code or not sweep_store.storage.keys(sweep_store.table_folder("reports")):
        return
    then = _code_then(SweepResults(sweep_store), None)
    for file in code:
        before = then.get(file.name)
        if before is None:
            say(
                f"warning: whether {file.name} is the file that {sweep_store.sweep_id} ran before is not known: no checksum "
                "of it was kept"
            )
        elif file.sha256 != before.sha256 and file.sha256 not in trusted:
            by_copy = before.sha256 in trusted
            also = f". To run the copy name the sweep: --sweep-id {sweep_store.sweep_id}" if by_copy else ""
            raise SweepMismatchError(_is_another(sweep_store, file, before.sha256, ended="resume with it") + also)


def take_code(
    sweep_store: SweepStore, files: Collection[str], *, trusted_code: Collection[str] = (), trial_id: str | None = None
) -> None:
    """Load the files that a sweep on a storage ran: local files with the recorded checksums, else trusted ones.

    Must be called before any code runs that settings from a storage name.

    Args:
        sweep_store: Store of the sweep.
        files: Names of the files to load.
        trusted_code: SHA-256 of files that may run: of a copy on storage, or of a local file.
        trial_id: Trial whose files are loaded. None means the files that the sweep ran last.

    Raises:
        SweepMismatchError: a file is missing, differs, or has no recorded checksum, and no trusted file takes its place.
        ConfigError: a checksum is malformed or belongs to no needed file, or the trusted copy is missing or damaged.
    """
    wanted, used = _check_digits(trusted_code), set[str]()
    then = _code_then(SweepResults(sweep_store), trial_id)
    for name in sorted(files):
        known = then.get(name)
        here = _found_here(name, known)
        safe = [file for file in here if not _may_be_theirs(sweep_store, file)]
        same = [file for file in safe if known and file.sha256 == known.sha256]
        allowed = [file for file in here if file.sha256 in wanted]
        if known and known.sha256 in wanted:
            at_hand = [file for file in here if file.sha256 == known.sha256]
            hold(at_hand[:1] or [_copy(sweep_store, name, known)])
            used.add(known.sha256)
        elif allowed:
            hold(allowed[:1])
            used.add(allowed[0].sha256)
        elif same:
            hold(same[:1])
        elif not here:
            raise SweepMismatchError(_is_gone(sweep_store, name, known))
        elif not safe:
            raise SweepMismatchError(
                f"sweep {sweep_store.sweep_id} names {here[0].path}, which lies in the storage or belongs to another user: "
                f"read it, and if you trust it, add --trust-code {here[0].sha256}"
            )
        elif known is None:
            raise SweepMismatchError(
                f"whether {name} is the file that {sweep_store.sweep_id} ran is not known: no checksum of it was kept. If "
                f"it is, confirm with --trust-code {safe[0].sha256}"
            )
        else:
            raise SweepMismatchError(_is_another(sweep_store, safe[0], known.sha256, ended="run it instead"))
    if wanted - used:
        raise ConfigError(
            f"--trust-code {', '.join(sorted(wanted - used))}: not the checksum of a file that {sweep_store.sweep_id} needs "
            "here; leave it out"
        )


def take_missing_code(sweep_store: SweepStore, *, trusted_code: Collection[str] = ()) -> None:
    """Load, for a sweep to resume, the files that this process has not read; with trusted checksums, all of its files.

    Raises:
        SweepMismatchError, ConfigError: see ``take_code``.
    """
    then = _code_then(SweepResults(sweep_store), None)
    take_code(sweep_store, {name for name in then if trusted_code or not is_held(name)}, trusted_code=trusted_code)


def take_code_of(sweep_store: SweepStore, *, trusted_code: Collection[str] = (), trial_id: str | None = None) -> None:
    """Load the files that the stored settings of one trial, or of a sweep and all its ended trials, name.

    Raises:
        SweepMismatchError, ConfigError: see ``take_code``.
    """
    results = SweepResults(sweep_store)
    rows = [row for row in results.trials() if trial_id in {None, row.trial_id}]
    files = files_in([row.settings for row in rows])
    for session in results.sessions()[-1:]:
        stored = json.loads(session.config_json)
        fields = ("teacher_recipe", "trial", "cases") if trial_id is None else ("teacher_recipe",)
        files |= files_in([stored[field] for field in fields])
    take_code(sweep_store, files, trusted_code=trusted_code, trial_id=trial_id)


def code_of_trial(sweep_store: SweepStore, trial_id: str) -> dict[str, str]:
    """Return the SHA-256 of each file that a trial ran, by name; empty if none was recorded."""
    return {name: kept.sha256 for name, kept in _code_then(SweepResults(sweep_store), trial_id).items()}


def _code_then(results: SweepResults, trial_id: str | None) -> Mapping[str, KeptFile]:
    """Return the files that a trial ran, or all files of the sweep, each as the last session with that file ran it."""
    started = [session for session in results.sessions() if session.event is SessionEvent.STARTED]
    row = next((row for row in results.trials() if row.trial_id == trial_id), None) if trial_id else None
    if row is not None:
        started = [session for session in started if session.at <= row.ended_at] or started
    return {name: kept for session in started for name, kept in session.code.items()}


def _found_here(name: str, known: KeptFile | None) -> list[OwnFile]:
    """Return the candidates for a file on this machine: as this process read it, at its name, and at its recorded path."""
    found = [own_file(name)] if is_held(name) else []
    for path in (Path(name), *([Path(known.path)] if known else [])):
        with suppress(OSError, ValueError):
            found.append(read_file(name, path))
    return found


def _may_be_theirs(sweep_store: SweepStore, file: OwnFile) -> bool:
    """Return whether somebody else may have written a file that only the storage names.

    That is so if the file lies in the storage or belongs to another user.
    """
    if is_held(file.name) and own_file(file.name) == file:
        return False  # this process has read the file already, since the command names it
    root = local_path(sweep_store.storage, "")
    if root is not None and Path(file.path).is_relative_to(root.resolve()):
        return True
    return Path(file.path).stat().st_uid not in {os.getuid(), 0}


def _check_digits(checksums: Collection[str]) -> set[str]:
    for text in checksums:
        if len(text) != hashlib.sha256().digest_size * 2 or not set(text.lower()) <= set("0123456789abcdef"):
            raise ConfigError(f"--trust-code {text}: expected the 64 hexadecimal digits of a SHA-256")
    return {text.lower() for text in checksums}


def _is_gone(sweep_store: SweepStore, name: str, known: KeptFile | None) -> str:
    gone = f"sweep {sweep_store.sweep_id} runs {name}, and there is no such file in {Path.cwd()}"
    if known is None:
        return f"{gone}, nor a copy on its storage: put it there"
    also = "" if known.path == str(Path(name).resolve()) else f" or at {known.path}, where it was"
    return (
        f"{gone}{also}: put it there. Its copy is {sweep_store.code.shown(_key(name, known.sha256))}; read it, and if you "
        f"trust it, add --trust-code {known.sha256}"
    )


def _is_another(sweep_store: SweepStore, file: OwnFile, then: str, *, ended: str) -> str:
    return (
        f"sweep {sweep_store.sweep_id} ran another {file.name} (sha256 {then[:_SHOWN_DIGITS]} then, "
        f"{file.sha256[:_SHOWN_DIGITS]} now). Restore the old version (its copy is "
        f"{sweep_store.code.shown(_key(file.name, then))}). If the change alters no results, {ended}: --trust-code "
        f"{file.sha256}"
    )


def _copy(sweep_store: SweepStore, name: str, known: KeptFile) -> OwnFile:
    key = _key(name, known.sha256)
    content = _kept(sweep_store, key)
    where = f"--trust-code {known.sha256}: the copy of {name}, {sweep_store.code.shown(key)},"
    if content is None:
        raise ConfigError(f"{where} is gone")
    copy = OwnFile(name=name, path=known.path, content=content)
    if copy.sha256 != known.sha256:
        raise ConfigError(f"{where} has sha256 {copy.sha256}: it is not the file that the sweep ran, and is not run")
    return copy


def _kept(sweep_store: SweepStore, key: str) -> bytes | None:
    try:
        return sweep_store.code.read(key)
    except FileNotFoundError:
        return None


def _key(name: str, sha256: str) -> str:
    return f"{sha256}/{Path(name).name}"
