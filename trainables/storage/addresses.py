"""Parsing and checking of the addresses of storages, teachers and data sets.

    FOLDER, FOLDER/NAME                    a path on this machine, perhaps relative; ``~`` is the user's home
    file:///FOLDER                         an absolute path that every machine has
    s3://BUCKET/KEY, s3://BUCKET/KEY?OPTION=VALUE&...
    gs://BUCKET/KEY, gcs://BUCKET/KEY

Unlike in a URL, all characters of paths and keys stand for themselves, also ``#``, ``%20``, ``+``, ``=`` and spaces. Only in
the address of a bucket ``?`` begins the options; in a path ``?`` is an ordinary character.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl

GOOGLE = ("gs", "gcs")
"""Schemes of Google Cloud Storage."""

OPTIONS = ("endpoint_override", "region", "scheme")
"""Options that may follow the ``?`` of an S3 address."""

_EXPECTED = "expected a folder, file:///FOLDER, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"


class AddressError(ValueError):
    """An address cannot be used. The message repeats no part that could be a secret, since messages end up in logs."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Parts of an address. ``text`` joins them again."""

    scheme: str
    """Scheme in small letters. Empty for a path."""

    host: str
    """Name of the bucket. Empty for a path."""

    path: str
    """The path as written, or the part after the bucket, with its leading ``/``."""

    query: str | None = None
    """Part after the ``?`` of a bucket's address. None if there is no ``?``."""

    @property
    def text(self) -> str:
        """The whole address, with options, as needed to open it."""
        return self.shown if self.query is None else f"{self.shown}?{self.query}"

    @property
    def shown(self) -> str:
        """The address for printing, without options, which may contain what should not be shown."""
        return f"{self.scheme}://{self.host}{self.path}" if self.scheme else self.path

    @property
    def is_local(self) -> bool:
        """Whether the address is a path on this machine."""
        return self.scheme in {"", "file"}

    @property
    def options(self) -> dict[str, str]:
        """Options of the service by name. If a name is given twice, the last value counts."""
        return dict(parse_qsl(self.query or "", keep_blank_values=True))

    @property
    def name(self) -> str:
        """Last part of the path, a file's name. Empty if the address ends in ``/`` or names only a bucket."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Address:
        """Address of the folder that contains the file."""
        folder, slash, _ = self.path.rpartition("/")
        return replace(self, path=folder or slash or ("" if self.scheme else "."))

    def check(self) -> None:
        """Refuse an address that contains credentials, cannot be opened, or has a part that would be ignored.

        Raises:
            AddressError: the address is refused. The message says what is expected.
        """
        if "\0" in self.text:
            raise AddressError("the address holds a null character, which no file's name may have")
        if self.scheme == "file" and (self.host or not self.path):
            raise AddressError(
                "expected file:///FOLDER: after file:// comes a path that begins with /, without a machine"
            )
        if self.is_local:
            return
        if self.scheme not in {"s3", *GOOGLE}:
            raise AddressError(f"{self.scheme}:// is not an address that can be opened; {_EXPECTED}")
        # A secret key may contain a slash, so that the @ is not in the host; but no bucket's name has a colon.
        if "@" in self.host or ":" in self.host or any("key" in name or "token" in name for name in self.options):
            raise AddressError(
                "the address holds a key; keys are taken from the environment, a profile or the instance's role"
            )
        if self.query is not None:
            self._check_options()

    def _check_options(self) -> None:
        if self.scheme != "s3":
            raise AddressError(
                f"the address has a ?, but {self.scheme}:// has no options; leave out the ? and what follows"
            )
        unknown = sorted(self.options.keys() - set(OPTIONS))
        if unknown or not self.options:
            seen = unknown[0] if unknown else "nothing after its ?"
            raise AddressError(f"the address has {seen}; allowed after the ? are {', '.join(OPTIONS)}")
        if self.options.get("scheme", "https") not in {"http", "https"}:
            raise AddressError("the address has an unknown scheme= after its ?; allowed: http, https")


def parse_address(text: str) -> Address:
    """Split an address into its parts, whatever the text; ``Address.check`` refuses addresses that cannot be used."""
    scheme, _, rest = text.partition("://") if "://" in text else ("", "", "")
    scheme, query = scheme.strip().lower(), None
    if not scheme:
        return Address(scheme="", host="", path=text)
    if scheme != "file":
        rest, mark, options = rest.partition("?")
        query = options if mark else None
    host, slash, path = rest.partition("/")
    return Address(scheme=scheme, host=host, path=slash + path, query=query)


def expand_home(path: str) -> Path:
    """Return a path in which a leading ``~``, or ``~NAME`` if there is such a user, is replaced by that user's home.

    ``./~`` stays a folder named ``~``; ``Path`` alone drops the ``./``, so ``Path.expanduser`` would return the home.
    """
    if path.startswith("~"):
        with suppress(RuntimeError):  # no such user
            return Path(path).expanduser()
    return Path(path)
