"""Line ends: CRLF as mail has them, LF as files have them."""

from __future__ import annotations

import re

_BARE = re.compile(rb"(?<!\r)\n")


def to_mail(data: bytes) -> bytes:
    """Every LF that has no CR gets one. A lone CR stays: it is part of a line."""
    if b"\n" not in data or data.count(b"\n") == data.count(b"\r\n"):
        return data
    return _BARE.sub(b"\r\n", data)


def to_file(data: bytes) -> bytes:
    """LF alone where `to_mail` gives the same octets again; else the octets as they are."""
    if data.count(b"\r\n") != data.count(b"\n") or data.count(b"\r") != data.count(b"\n"):
        return data
    return data.replace(b"\r\n", b"\n")
