"""Domain names: which texts are names, the reverse name of an address, names in wire form (RFC 1035, 2.3 and 3.1)."""

from __future__ import annotations

import re
from ipaddress import ip_address

MAX_TEXT = 253  # characters of a name without its last dot, so that its wire form fits into 255 octets
MAX_LABEL = 63

# Printable ASCII but the backslash: names asked for may come from SPF macros, block lists and the like, and hold more
# than the letters, digits and hyphens of a host name.
_LABEL = r"[!-\-/-\[\]-~]{1,63}"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_HOST_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*", re.ASCII | re.IGNORECASE)
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")


def normal(name: str) -> str | None:
    """The form in which equal names are equal: lower case, no last dot. None for what is no name that can be asked for:
    empty, over-long, with an empty or over-long label, not ASCII (use A-labels), with blanks or backslashes."""
    text = name.removesuffix(".")
    if len(text) > MAX_TEXT or not _NAME.fullmatch(text):
        return None
    return text.lower()


def is_host_name(name: str) -> bool:
    """Whether a name out of an answer can be that of a host: letters, digits, hyphens, and the underscores that some
    use. An address is none (RFC 1123 section 2.1)."""
    return len(name) <= MAX_TEXT and bool(_HOST.fullmatch(name)) and not name.rpartition(".")[2].isdigit()


def reverse_name(address: str) -> str:
    """The name under which the PTR of an IPv4 or IPv6 address stands. Raises ValueError."""
    return ip_address(address.partition("%")[0]).reverse_pointer


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """The name in (uncompressed) wire form that begins at an offset, as `Answer` spells names, and the offset behind
    it. Raises ValueError."""
    labels: list[str] = []
    start = at
    while True:
        if at >= len(data):
            raise ValueError("a name ends in the middle")
        length = data[at]
        at += 1
        if length == 0:
            return ".".join(labels) or ".", at
        if length > MAX_LABEL or at + length > len(data) or at + length - start > 254:
            raise ValueError("not a name")
        labels.append(_label(data[at : at + length]))
        at += length


def spelled(text: str | bytes) -> str:
    """A name as another library spelled it, as `Answer` spells names."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    text = text.lower()
    if not text.isascii():
        text = "".join(char if char.isascii() else f"\\{ord(char) & 255:03d}" for char in text)
    return text.removesuffix(".") or "."


def _label(octets: bytes) -> str:
    lower = octets.lower()
    if _PLAIN.issuperset(lower):
        return lower.decode("ascii")
    return "".join(chr(octet) if octet in _PLAIN or octet in b"*/+=" else f"\\{octet:03d}" for octet in lower)
