"""RFC 2047 encoded words in a header value, decoded as forgivingly as senders are careless."""

from __future__ import annotations

import binascii
import re

from pillarbox.mime.charset import decode
from pillarbox.mime.transfer import decode_base64

# The language suffix is RFC 2231 section 5. Words inside quotes or glued to text are decoded too: senders do that.
# Possessive, and every repetition ends at the next "?": linear on any number of false starts.
_WORD = re.compile(r"=\?([^?\s*]++)(?:\*[^?\s]*+)?\?([bBqQ])\?([^?]*+)\?=")
_CONTROLS = dict.fromkeys((0, 10, 13), " ")


def decode_words(value: bytes) -> str:
    """An unfolded header value as text. Raw 8-bit octets are taken as UTF-8, else windows-1252. No CR, LF or NUL."""
    text = decode(value)
    if "=?" in text:
        text = _decode(text)
    return text if text.isprintable() else text.translate(_CONTROLS)


def _decode(text: str) -> str:
    out: list[str] = []
    charset = ""
    pieces: list[bytes] = []  # of neighbouring words in one charset: a character may be cut between two words
    last = 0
    for match in _WORD.finditer(text):
        gap = text[last : match.start()]
        last = match.end()
        between = not gap.strip(" \t\r\n")  # white space between two encoded words is not shown (section 6.2)
        if pieces and (not between or match[1].lower() != charset):
            out.append(decode(b"".join(pieces), charset))
            pieces = []
            if not between:
                out.append(gap)
        elif not pieces:
            out.append(gap)
        charset = match[1].lower()
        raw = match[3].encode("utf-8", "replace")
        octets = decode_base64(raw) if match[2] in "bB" else binascii.a2b_qp(raw, header=True)
        pieces.append(octets)
    if not pieces:
        return text
    out.append(decode(b"".join(pieces), charset))
    out.append(text[last:])
    return "".join(out)
