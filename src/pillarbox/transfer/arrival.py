"""When a message that comes as a file arrived: its first Received field, its Date, or what the file says."""

from __future__ import annotations

from pillarbox.mime.date import parse_date
from pillarbox.mime.header import raw_values

MOST_HEADER = 256 << 10  # octets that are looked through


def header_of(data: bytes) -> bytes:
    """The header of a message with CRLF, with its last line end; all of it when there is no body."""
    end = data.find(b"\r\n\r\n", 0, MOST_HEADER)
    return data[: end + 2] if end >= 0 else data[:MOST_HEADER]


def arrival(data: bytes, otherwise: int | None = None) -> int | None:
    """Seconds since 1970."""
    header = header_of(data)
    for value in raw_values(header, b"received")[:1]:
        if (found := parse_date(value.rpartition(b";")[2].strip())) is not None and found[0] > 0:
            return found[0]
    for value in raw_values(header, b"date")[:1]:
        if (found := parse_date(value.strip())) is not None and found[0] > 0:
            return found[0]
    return otherwise
