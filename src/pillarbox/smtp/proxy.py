"""The PROXY protocol, versions 1 and 2: who the client behind a load balancer is.

By "The PROXY protocol, versions 1 & 2" of HAProxy. The header stands before everything else on the connection, also
before TLS; a listener that expects it must get it, from networks that the operator trusts.
"""

import re
import struct
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

MAX_V1 = 107  # octets with CRLF, section 2.1
MAX_V2 = 16 + 2048  # the addresses take up to 216; the rest are TLVs

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = struct.Struct("!12sBBH")
_INET = struct.Struct("!4s4sHH")
_INET6 = struct.Struct("!16s16sHH")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")


class ProxyError(ValueError):
    """Not a PROXY header, or a broken one: close the connection without a word (section 2)."""


class Header(NamedTuple):
    """`length` octets of the connection are the header. `source` and `destination` are (address, port), None when the
    proxy speaks for itself (LOCAL, a health check) or does not know (UNKNOWN, another protocol): the address of the
    connection holds then."""

    length: int
    source: tuple[str, int] | None
    destination: tuple[str, int] | None


def parse(buffer: bytes) -> Header | None:
    """The header at the beginning of `buffer`; None when more octets are needed, which are never more than `MAX_V2`.
    Raises ProxyError as soon as it cannot be one."""
    if buffer.startswith(_SIGNATURE):
        return _parse_v2(buffer)
    if buffer.startswith(b"PROXY "):
        return _parse_v1(buffer)
    if _SIGNATURE.startswith(buffer) or b"PROXY ".startswith(buffer):
        return None
    raise ProxyError("no PROXY header")


def _parse_v1(buffer: bytes) -> Header | None:
    end = buffer.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(buffer) >= MAX_V1:
            raise ProxyError("PROXY line too long")
        return None
    length = end + 2
    try:
        words = buffer[:end].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise ProxyError("PROXY line is not ASCII") from None
    if words[1] == "UNKNOWN":  # what follows must be ignored
        return Header(length, None, None)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ProxyError("bad PROXY line")
    kind = IPv4Address if words[1] == "TCP4" else IPv6Address
    try:
        source, destination = kind(words[2]), kind(words[3])
    except AddressValueError:
        raise ProxyError("bad address in the PROXY line") from None
    if "%" in words[2] + words[3]:
        raise ProxyError("bad address in the PROXY line")
    return Header(length, (_text(source), _port(words[4])), (_text(destination), _port(words[5])))


def _parse_v2(buffer: bytes) -> Header | None:
    if len(buffer) < _FIXED.size:
        return None
    _, version_command, family, payload = _FIXED.unpack_from(buffer)
    command = version_command & 0x0F
    if version_command >> 4 != 2 or command > 1:
        raise ProxyError("bad version or command in the PROXY header")
    length = _FIXED.size + payload
    if length > MAX_V2:
        raise ProxyError("PROXY header too long")
    if len(buffer) < length:
        return None
    if command == 0:  # LOCAL: the addresses must be ignored
        return Header(length, None, None)
    if family == 0x11:
        return _addresses(buffer, _INET, IPv4Address, length)
    if family == 0x21:
        return _addresses(buffer, _INET6, IPv6Address, length)
    if family >> 4 > 3 or family & 0x0F > 2:
        raise ProxyError("bad family in the PROXY header")
    return Header(length, None, None)  # UNSPEC, UNIX or datagrams: no TCP address to take


def _addresses(
    buffer: bytes, layout: struct.Struct, kind: type[IPv4Address] | type[IPv6Address], length: int
) -> Header:
    if length < _FIXED.size + layout.size:
        raise ProxyError("PROXY header too short for its addresses")
    source, destination, source_port, destination_port = layout.unpack_from(buffer, _FIXED.size)
    # TLVs may follow up to `length`; none of them is of use to a mail server, section 2.2 lets us skip them.
    return Header(length, (_text(kind(source)), source_port), (_text(kind(destination)), destination_port))


def _text(address: IPv4Address | IPv6Address) -> str:
    """An IPv4 client of a dual-stack proxy is an IPv4 client."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _port(word: str) -> int:
    if not _PORT.fullmatch(word) or int(word) > 65535:
        raise ProxyError("bad port in the PROXY line")
    return int(word)
