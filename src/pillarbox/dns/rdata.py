"""The data of one record in wire form, as libunbound gives it, to what `Answer.records` holds (RFC 1035 section 3.3,
RFC 2782, RFC 6698). Whoever made it may be hostile: `read` raises ValueError, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from socket import AF_INET, inet_ntop
from typing import Any

from pillarbox.dns.answer import Kind
from pillarbox.dns.names import read_name

NUMBERS: dict[Kind, int] = {
    "A": 1,
    "CNAME": 5,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
    "TLSA": 52,
}


def read(kind: Kind, data: bytes) -> Any:
    """One record of a kind. Raises ValueError when the octets are none."""
    return _READERS[kind](data)


def _a(data: bytes) -> str:
    if len(data) != 4:
        raise ValueError("an A record has 4 octets")
    return inet_ntop(AF_INET, data)


def _aaaa(data: bytes) -> str:
    if len(data) != 16:
        raise ValueError("an AAAA record has 16 octets")
    return str(IPv6Address(data))


def _name(data: bytes) -> str:
    name, end = read_name(data, 0)
    if end != len(data):
        raise ValueError("octets behind a name")
    return name


def _number(data: bytes, at: int) -> int:
    if at + 2 > len(data):
        raise ValueError("a number ends in the middle")
    return data[at] << 8 | data[at + 1]


def _mx(data: bytes) -> tuple[int, str]:
    return _number(data, 0), _name(data[2:])


def _txt(data: bytes) -> bytes:
    strings, at = [], 0
    while at < len(data):
        end = at + 1 + data[at]
        if end > len(data):
            raise ValueError("a string ends in the middle")
        strings.append(data[at + 1 : end])
        at = end
    if not strings:
        raise ValueError("a TXT record has at least one string")
    return b"".join(strings)


def _srv(data: bytes) -> tuple[int, int, int, str]:
    return _number(data, 0), _number(data, 2), _number(data, 4), _name(data[6:])


def _tlsa(data: bytes) -> tuple[int, int, int, bytes]:
    if len(data) < 4:
        raise ValueError("a TLSA record has three numbers and data")
    return data[0], data[1], data[2], data[3:]


_READERS: dict[Kind, Callable[[bytes], Any]] = {
    "A": _a,
    "AAAA": _aaaa,
    "MX": _mx,
    "TXT": _txt,
    "PTR": _name,
    "CNAME": _name,
    "SRV": _srv,
    "TLSA": _tlsa,
}
