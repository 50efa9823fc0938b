"""Files of the user's own that a sweep runs: which they are, their copies on storage, and whether they are the same ones.

A name such as ``my_nets.py:make`` says where a file lies on the machine of the driver. Its content goes to wherever trials
run, and a copy to the sweep's storage with its SHA-256 in the rows. Code that comes from a storage is another matter than
data: whoever may write there could have the next user run anything. So what a storage's settings name runs only if the file
here is the one that the rows tell of, and a copy only if the user names its checksum.
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
"""Of a checksum in a sentence, where nobody has to type it."""


def read_code(sweep: SweepConfig, further: Iterable[object] = ()) -> tuple[OwnFile, ...]:
    """Return all files on which the numbers of a sweep's trials depend, as this process runs them, by their names' order.

    Which trials there are is another matter: a space, a sampler or a scheduler may be mended and the sweep go on.

    Args:
        sweep: The sweep, with the teachers that it would train.
        further: Values that a search may give its trials' fields.

    Raises:
        ConfigError: one of them cannot be read.
    """
    configs = sweep.configs()
    trained = [sweep.teacher_config(c) for c in configs if c.teacher is not None and c.teacher_checkpoint is None]
    names = files_in([*(config.model_dump() for config in (*configs, *trained)), *further])
    try:
        return tuple(own_file(name) for name in sorted(names))
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error


def keep_code(sweep_store: SweepStore, code: Iterable[OwnFile]) -> None:
    """Keep a copy of each file on the sweep's storage; one that is damaged is written anew.

    Raises:
        StorageOutageError, StorageRefusedError: storage does not take it.
    """
    for file in code:
        key = _key(file.name, file.sha256)
        if _kept(sweep_store, key) != file.content:
            sweep_store.code.write(key, file.content)


def check_code(
    sweep_store: SweepStore, code: Iterable[OwnFile], *, trusted_code: Collection[str], say: Callable[[str], None]
) -> None:
    """Refuse to go on with a sweep by other files than it ran last. While there is no report they may be mended.

    Args:
        sweep_store: The sweep.
        code: What its trials would run now.
        trusted_code: SHA-256 of files that may take another's place.
        say: Is told of files of which it is not known whether they are the same.

    Raises:
        SweepMismatchError: a file is another one.
    """
    trusted = _check_digits(trusted_code)
    code = list(code)
    # Keys are listed and no report is read: a long sweep has thousands.
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
            raise SweepMismatchError(_is_another(sweep_store, file, before.sha256, ended="go on with it") + also)


def take_code(
    sweep_store: SweepStore, files: Collection[str], *, trusted_code: Collection[str] = (), trial_id: str | None = None
) -> None:
    """Have this process run the files that a sweep on a storage ran: those here if they are the same, else what is trusted.

    Called before anything is run that settings from a storage name.

    Args:
        sweep_store: The sweep.
        files: Names of the files that are to run.
        trusted_code: SHA-256 of files that may run: of a copy on storage, or of a file here.
        trial_id: The trial whose files they are; None: those of the last session.

    Raises:
        SweepMismatchError: a file is not here, or is another one, or it is not known which it was, and none is trusted.
        ConfigError: a checksum is none or of no such file, or the copy that is trusted is not on storage or is damaged.
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
                f"it is, say so with --trust-code {safe[0].sha256}"
            )
        else:
            raise SweepMismatchError(_is_another(sweep_store, safe[0], known.sha256, ended="run it instead"))
    if wanted - used:
        raise ConfigError(
            f"--trust-code {', '.join(sorted(wanted - used))}: of no file that {sweep_store.sweep_id} needs here; leave it "
            "out"
        )


def take_missing_code(sweep_store: SweepStore, *, trusted_code: Collection[str] = ()) -> None:
    """Take what ``take_code`` takes for a sweep that goes on, of files that this process has not read, or that are trusted.

    Raises:
        SweepMismatchError, ConfigError: see ``take_code``.
    """
    then = _code_then(SweepResults(sweep_store), None)
    take_code(sweep_store, {name for name in then if trusted_code or not is_held(name)}, trusted_code=trusted_code)


def take_code_of(sweep_store: SweepStore, *, trusted_code: Collection[str] = (), trial_id: str | None = None) -> None:
    """Take what ``take_code`` takes for a trial, or for all of a sweep's that have ended, by what the storage says of them.

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
    """Return the SHA-256 of each file that a trial ran, by name; empty where none was kept."""
    return {name: kept.sha256 for name, kept in _code_then(SweepResults(sweep_store), trial_id).items()}


def _code_then(results: SweepResults, trial_id: str | None) -> Mapping[str, KeptFile]:
    """The files that a trial ran, or all that the sweep has run, each as the last session ran it that ran it."""
    started = [session for session in results.sessions() if session.event is SessionEvent.STARTED]
    row = next((row for row in results.trials() if row.trial_id == trial_id), None) if trial_id else None
    if row is not None:
        started = [session for session in started if session.at <= row.ended_at] or started
    return {name: kept for session in started for name, kept in session.code.items()}


def _found_here(name: str, known: KeptFile | None) -> list[OwnFile]:
    """The files that may be meant on this machine: as this process holds it, by the name, and where it lay before."""
    found = [own_file(name)] if is_held(name) else []
    for path in (Path(name), *([Path(known.path)] if known else [])):
        with suppress(OSError, ValueError):
            found.append(read_file(name, path))
    return found


def _may_be_theirs(sweep_store: SweepStore, file: OwnFile) -> bool:
    """Whether others than the user may have put a file there that nobody but the storage has named: it lies in the storage,
    or is another user's."""
    if is_held(file.name) and own_file(file.name) == file:
        return False  # the command names it
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
        f"{file.sha256[:_SHOWN_DIGITS]} now). Bring it back as it was (its copy is "
        f"{sweep_store.code.shown(_key(file.name, then))}). If the change alters no number, {ended}: --trust-code "
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
        raise ConfigError(f"{where} has sha256 {copy.sha256}: it is not what the sweep ran, and is not run")
    return copy


def _kept(sweep_store: SweepStore, key: str) -> bytes | None:
    try:
        return sweep_store.code.read(key)
    except FileNotFoundError:
        return None


def _key(name: str, sha256: str) -> str:
    return f"{sha256}/{Path(name).name}"
