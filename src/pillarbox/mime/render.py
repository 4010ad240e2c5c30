"""Strings and parameter lists as IMAP writes them (RFC 3501 section 9, RFC 9051 section 9).

What is stored once is sent to every client, also to one that enabled nothing. Such a client may be sent no 8-bit octet
in a quoted string; so a string with an 8-bit octet, CR or LF becomes a literal with the octets as the sender wrote
them, which every IMAP client must read. Nothing is re-encoded, so nothing is lost. NUL, which no literal may hold, is
left out.
"""

from __future__ import annotations

import re

NIL = b"NIL"

_SAFE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-!#-\[\]-\x7f]*+")


def string(value: bytes) -> bytes:
    """A quoted string, or a literal where a quoted string may not be."""
    if _SAFE.fullmatch(value):
        return b'"' + value + b'"'
    value = value.replace(b"\0", b"")
    if value.isascii() and b"\r" not in value and b"\n" not in value:
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n%b" % (len(value), value)


def nstring(value: bytes | None) -> bytes:
    """A string, or NIL for None."""
    return NIL if value is None else string(value)


def parameters(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """body-fld-param: `("NAME" "value" ...)`, NIL when there are none. Names in upper case, values as sent."""
    if not pairs:
        return NIL
    return b"(" + b" ".join([string(name.upper()) + b" " + string(value) for name, value in pairs]) + b")"
