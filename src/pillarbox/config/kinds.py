"""Kinds of values: how the text of a setting becomes a value, and what is allowed.

A kind parses one text and raises `ValueError` when it is not allowed; the sentence in `allowed` then tells the operator
what is. Nothing is guessed: `yess` is no boolean and `10k` is no integer.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Value = str | int | bool | Path | tuple[Network, ...] | tuple[str, ...] | None

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)
_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1, "": 1}
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Kind:
    """`name` is the word for tables, `allowed` completes the sentence "SMTP_X must be …"."""

    name: str
    allowed: str
    parse: Callable[[str], Value]


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError("not a whole number")
    return int(text)


def integer(low: int, high: int, unit: str = "") -> Kind:
    """Whole numbers from `low` to `high`, both allowed; `unit` is for people ("seconds", "bytes")."""

    def parse(text: str) -> int:
        value = _integer(text)
        if not low <= value <= high:
            raise ValueError("out of range")
        return value

    of_unit = f" {unit}" if unit else ""
    return Kind(f"integer{of_unit and ' (' + unit + ')'}", f"a whole number between {low} and {high}{of_unit}", parse)


class Duration(int):
    """Seconds that are written as people do: 90 is `90s`, 7200 `2h`."""

    def __str__(self) -> str:
        for unit, seconds in _UNITS.items():
            if self and self % seconds == 0:
                return f"{self // seconds}{unit}"
        return "0s"


def seconds_of(text: str) -> list[Duration]:
    """Durations separated by blanks or commas: `5m 1h 4h`; a number alone is in seconds. Raises ValueError."""
    found = [_DURATION.fullmatch(word) for word in re.split(r"[,\s]+", text.strip().lower())]
    if None in found:
        raise ValueError("not a duration")
    return [Duration(int(match[1]) * _UNITS[match[2]]) for match in found if match is not None]


def duration(low: int, high: int) -> Kind:
    """A time span from `low` to `high` seconds, both allowed."""

    def parse(text: str) -> Duration:
        (value,) = seconds_of(text)
        if not low <= value <= high:
            raise ValueError("out of range")
        return value

    return Kind("duration", f"a time span from {Duration(low)} to {Duration(high)}, such as 90s, 30m, 4h or 5d", parse)


def durations(low: int, high: int, most: int) -> Kind:
    """A list of time spans, as text in one form; `seconds_of` reads it."""

    def parse(text: str) -> str:
        values = seconds_of(text)
        if len(values) > most or not all(low <= value <= high for value in values):
            raise ValueError("out of range")
        return " ".join(map(str, values))

    return Kind(
        "durations", f"1 to {most} time spans from {Duration(low)} to {Duration(high)}, such as 5m 1h 4h", parse
    )


def percentages(most: int) -> Kind:
    """A list of percentages, as text in one form: ascending, with spaces between; empty for none."""

    def parse(text: str) -> str:
        values = sorted({_integer(word) for word in re.split(r"[,\s]+", text.strip()) if word})
        if len(values) > most or not all(1 <= value <= 100 for value in values):
            raise ValueError("out of range")
        return " ".join(map(str, values))

    return Kind("percentages", f"at most {most} numbers from 1 to 100, such as 80 95", parse)


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("not a boolean")


def boolean() -> Kind:
    return Kind("boolean", "true, 1, yes, on, false, 0, no or off", _boolean)


def port() -> Kind:
    """A listener that is always there; 0 lets the system choose."""
    of_range = integer(0, 65535)
    return Kind("port", "a whole number between 0 and 65535 (0: the system chooses)", of_range.parse)


def optional_port() -> Kind:
    """A listener that is off (None) until it has a port."""
    of_range = integer(0, 65535)

    def parse(text: str) -> Value:
        return None if text.strip().lower() in ("", "off") else of_range.parse(text)

    return Kind("port or off", "`off` or a whole number between 0 and 65535 (0: the system chooses)", parse)


def choice(*names: str, aliases: dict[str, str] | None = None) -> Kind:
    """One of `names`, in any case; `aliases` are shorter spellings of them."""
    others = aliases or {}

    def parse(text: str) -> str:
        word = text.strip().lower()
        word = others.get(word, word)
        if word not in names:
            raise ValueError("not one of the names")
        return word

    short = f" (short: {', '.join(others)})" if others else ""
    return Kind("choice", f"one of {', '.join(names)}{short}", parse)


def text() -> Kind:
    def parse(value: str) -> Value:
        return value.strip() or None

    return Kind("text", "text", parse)


def path() -> Kind:
    """A file or folder; the empty text means none. `~` is not expanded: a service has no home."""

    def parse(value: str) -> Value:
        if "\0" in value:
            raise ValueError("NUL in a path")
        return Path(value.strip()) if value.strip() else None

    return Kind("path", "a path", parse)


def address() -> Kind:
    """One IPv4 or IPv6 address to listen on; `localhost` stands for 127.0.0.1."""

    def parse(value: str) -> str:
        word = value.strip()
        if word.lower() == "localhost":
            return "127.0.0.1"
        return str(ipaddress.ip_address(word.removeprefix("[").removesuffix("]")))

    return Kind("IP address", "an IPv4 or IPv6 address, such as 0.0.0.0, :: or 127.0.0.1", parse)


def hostname() -> Kind:
    """The name this server calls itself; the same in the banner, in EHLO and in trace fields."""

    def parse(value: str) -> str:
        name = value.strip()
        if not 0 < len(name) <= 253 or not all(_HOST_LABEL.fullmatch(label) for label in name.split(".")):
            raise ValueError("not a host name")
        return name

    return Kind("host name", "a host name without blanks, such as mail.example.com", parse)


def url(*schemes: str, host: bool = True) -> Kind:
    """`host`: it must name one. (libpq takes a socket of this machine where none is named.)"""

    def parse(value: str) -> Value:
        if not value.strip():
            return None
        parts = urlsplit(value.strip())
        if parts.scheme not in schemes or (host and not parts.hostname):
            raise ValueError("not such a URL")
        return value.strip()

    return Kind("URL", "a URL that begins with " + " or ".join(f"{scheme}://" for scheme in schemes), parse)


class Networks(tuple[Network, ...]):
    """Networks that are written as people do: `127.0.0.0/8, ::1/128`."""

    __slots__ = ()

    def __str__(self) -> str:
        return ", ".join(map(str, self))


def networks() -> Kind:
    """Addresses and networks, separated by commas or blanks; the empty text means none."""

    def parse(value: str) -> tuple[Network, ...]:
        found = (item for item in re.split(r"[,\s]+", value.strip()) if item)
        return Networks(ipaddress.ip_network(item, strict=False) for item in found)

    return Kind("networks", "addresses or networks separated by commas, such as 127.0.0.1, 10.0.0.0/8, ::1", parse)


def servers() -> Kind:
    """Addresses with a port behind an `@` where it is not the usual one, in the order in which they are asked."""

    def parse(value: str) -> tuple[str, ...]:
        return tuple(_server(item) for item in re.split(r"[,\s]+", value.strip()) if item)

    return Kind("servers", "addresses separated by commas, such as 127.0.0.1, 127.0.0.1@5353, 2001:db8::53", parse)


def _server(item: str) -> str:
    address, at, port = item.partition("@")
    address = str(ipaddress.ip_address(address))
    if not at:
        return address
    if not 0 < _integer(port) < 65536:
        raise ValueError("no port")
    return f"{address}@{_integer(port)}"


def domains() -> Kind:
    """Domain names as they stand in the DNS; the empty text means none."""

    def parse(value: str) -> tuple[str, ...]:
        names = tuple(item.removesuffix(".").lower() for item in re.split(r"[,\s]+", value.strip()) if item)
        if not all(len(name) <= 253 and all(map(_HOST_LABEL.fullmatch, name.split("."))) for name in names):
            raise ValueError("not a domain")
        return names

    return Kind("domains", "domain names separated by commas, such as corp.internal, 10.in-addr.arpa", parse)
