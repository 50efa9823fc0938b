"""Addresses of storages, teachers and data sets: the one place where they are taken apart.

    FOLDER, FOLDER/NAME                    a path on this machine, perhaps relative; ``~`` is the user's home
    file:///FOLDER                         an absolute path that every machine has
    s3://BUCKET/KEY, s3://BUCKET/KEY?OPTION=VALUE&...
    gs://BUCKET/KEY, gcs://BUCKET/KEY

Paths and keys are meant as they are written, unlike those of a URL: ``#``, ``%20``, ``+``, ``=`` and spaces stand for
themselves. Only in the address of a bucket does ``?`` have a meaning; in a path it is a character like the others.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl

GOOGLE = ("gs", "gcs")
"""Schemes of Google Cloud Storage."""

OPTIONS = ("endpoint_override", "region", "scheme")
"""What may follow the ``?`` of an S3 address."""

_EXPECTED = "expected a folder, file:///FOLDER, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"


class AddressError(ValueError):
    """An address that cannot be used. The message repeats nothing that could be a secret: it would end up in logs."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """The parts of an address; ``text`` puts them together again."""

    scheme: str
    """In small letters; empty for a path."""

    host: str
    """The bucket; empty for a path."""

    path: str
    """A path as it was written, or what follows the host, with its leading ``/``."""

    query: str | None = None
    """What follows the ``?`` of a bucket's address; none where there is no ``?``."""

    @property
    def text(self) -> str:
        """The whole address, for whoever opens it."""
        return self.shown if self.query is None else f"{self.shown}?{self.query}"

    @property
    def shown(self) -> str:
        """The address as it may be printed: without options, which can hold more than the user wants to see."""
        return f"{self.scheme}://{self.host}{self.path}" if self.scheme else self.path

    @property
    def is_local(self) -> bool:
        """Whether it leads to a disk of this machine."""
        return self.scheme in {"", "file"}

    @property
    def options(self) -> dict[str, str]:
        """What the address says of the service, by name; of a name that is given twice the last value."""
        return dict(parse_qsl(self.query or "", keep_blank_values=True))

    @property
    def name(self) -> str:
        """The last part of the path: a file's name; empty if the address ends in ``/`` or is a mere bucket."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Address:
        """The address of the folder that holds the file."""
        folder, slash, _ = self.path.rpartition("/")
        return replace(self, path=folder or slash or ("" if self.scheme else "."))

    def check(self) -> None:
        """Refuse an address with a key in it, and one of which a part would be ignored.

        Raises:
            AddressError: with what is allowed.
        """
        if "\0" in self.text:
            raise AddressError("the address holds a null character, which no file's name may have")
        if self.scheme == "file" and (self.host or not self.path):
            raise AddressError("expected file:///FOLDER: behind file:// a path begins with /, and no machine is named")
        if self.is_local:
            return
        if self.scheme not in {"s3", *GOOGLE}:
            raise AddressError(f"{self.scheme}:// is not an address that can be opened; {_EXPECTED}")
        # A secret key may hold a slash, behind which the rest of it and the @ are; no bucket's name has a colon.
        if "@" in self.host or ":" in self.host or any("key" in name or "token" in name for name in self.options):
            raise AddressError(
                "the address holds a key; keys are taken from the environment, a profile or the instance's role"
            )
        if self.query is not None:
            self._check_options()

    def _check_options(self) -> None:
        if self.scheme != "s3":
            raise AddressError(f"the address has a ?, behind which {self.scheme}:// has no options")
        unknown = sorted(self.options.keys() - set(OPTIONS))
        if unknown or not self.options:
            seen = unknown[0] if unknown else "nothing behind its ?"
            raise AddressError(f"the address has {seen}; known after the ? are {', '.join(OPTIONS)}")
        if self.options.get("scheme", "https") not in {"http", "https"}:
            raise AddressError("the address has another scheme than http or https behind its ?")


def parse_address(text: str) -> Address:
    """Take an address apart. Every text has parts; ``Address.check`` says whether they can be used."""
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
    """Return a path with the user's home for a leading ``~``, and another user's for ``~NAME`` where there is such a user.

    ``./~`` stays a folder of that name, which ``Path.expanduser`` takes for the home, as it drops the ``./`` first.
    """
    if path.startswith("~"):
        with suppress(RuntimeError):  # no such user
            return Path(path).expanduser()
    return Path(path)
