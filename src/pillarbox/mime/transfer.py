"""Content-Transfer-Encoding undone, forgiving what RFC 2045 says a decoder should forgive. Never raises."""

from __future__ import annotations

import binascii
import re

IDENTITY = frozenset(("", "7bit", "8bit", "binary"))

_BASE64_JUNK = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
_PADDING = re.compile(rb"=++")
# White space at the end of a line was added in transport (RFC 2045 section 6.7). The look-behind keeps it linear.
_LINE_PADDING = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n|\Z)")

_PADDED_ENDS = (b" \r\n", b" \n", b"\t\r\n", b"\t\n")


def decode_transfer(raw: bytes, encoding: str) -> bytes | None:
    """The content octets; None when the encoding is not known (IMAP BINARY answers UNKNOWN-CTE then)."""
    encoding = encoding.lower()
    if encoding in IDENTITY:
        return bytes(raw)
    if encoding == "base64":
        return decode_base64(raw)
    if encoding == "quoted-printable":
        if any(end in raw for end in _PADDED_ENDS) or raw[-1:] in (b" ", b"\t"):
            raw = _LINE_PADDING.sub(b"", raw)
        return binascii.a2b_qp(raw)
    return None


def decode_base64(raw: bytes) -> bytes:
    """Base64 with foreign octets skipped, padding missing or in the middle (joined encodings), a lost last octet."""
    end = raw.find(b"=")
    if end < 0 or not raw[end:].strip(b"= \t\r\n"):
        try:
            return binascii.a2b_base64(raw)
        except binascii.Error:
            pass
    out = []
    for block in _PADDING.split(raw.translate(None, _BASE64_JUNK)):
        whole = len(block) - 1 if len(block) % 4 == 1 else len(block)  # six bits alone are no octet
        out.append(binascii.a2b_base64(block[:whole] + b"=" * (-whole % 4)))
    return b"".join(out)
