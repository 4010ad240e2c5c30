"""The address of a store on PostgreSQL, which can be shown without the password that may be in it."""

from __future__ import annotations

import re
from os import fspath
from pathlib import Path

SCHEMES = ("postgresql://", "postgres://")
# libpq looks for the @ before the first slash, whatever is between. A password with a slash in it is none that it
# takes, but it is not to be seen for that.
_OF_USER = re.compile(r"(?<=://)([^:@/]*:)(?:(?:[^/]*|[^?]*)@)+")
_PARAMETER = re.compile(r"(?<=[?&])((?:ssl)?password=)[^&]*")  # libpq's connection URIs have it there too
_NOWHERE = "/nonexistent"
_QUOTED = re.compile(r"""(['"]).*\1""")


class PostgresUrl:
    """A URL as libpq knows it. `os.fspath` gives it as it is, for who opens it; as text its password is hidden.

    libpq takes a scheme in small letters only.
    """

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        scheme, colon, rest = url.strip().partition(":")
        self._url = scheme.lower() + colon + rest

    def __fspath__(self) -> str:
        return self._url

    def __str__(self) -> str:
        return _PARAMETER.sub(r"\1***", _OF_USER.sub(r"\1***@", self._url))

    def __repr__(self) -> str:
        return f"PostgresUrl({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PostgresUrl) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)

    @property
    def has_password(self) -> bool:
        return str(self) != self._url


def refusal(url: PostgresUrl) -> str:
    """Why libpq does not take it, "" when it does. Asks no server, and quotes nothing of it.

    libpq looks at the values when it begins to connect: it is given a socket that is not there, for each host one.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        hosts = str(conninfo_to_dict(fspath(url)).get("host") or "").split(",")
        psycopg.connect(fspath(url), host=",".join(_NOWHERE for _ in hosts), hostaddr="").close()
    except psycopg.Error as error:
        said = " ".join(str(error).split()).removeprefix("connection is bad: ")
        return "" if f'socket "{_NOWHERE}/' in said else _QUOTED.sub(r"\1...\1", said.partition(" Multiple ")[0])
    return ""


StoreName = Path | PostgresUrl


def store_name(text: str) -> StoreName:
    """What a word of an operator means: a URL, or the path of a file."""
    return PostgresUrl(text) if is_url(text) else Path(text)


def is_url(text: str) -> bool:
    return text.lstrip().lower().startswith(SCHEMES)
