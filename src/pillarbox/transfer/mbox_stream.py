"""Cutting an mbox into messages while it is read, however large it is (mboxrd, mboxo, mboxcl; LF or CRLF).

A message begins at a line `From ... hh:mm... yyyy` behind an empty line or at the start; where Content-Length leads to
such a line, or to the end, it is believed before what stands between.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from typing import IO

import msgspec

from pillarbox.transfer.found import LARGEST

_PIECE = 1 << 20
_MOST_FROM = 1000  # octets of a From line
_BOUNDARY = re.compile(rb"(?<=\n)\r?\n(?=From [^\n]{0,900}\d:\d\d[^\n]{0,80}\d{4}[^\n]{0,40}\n)")
_FROM = re.compile(rb"From [^\n]*\n")
_CONTENT_LENGTH = re.compile(rb"(?:\A|\n)Content-Length:[ \t]*(\d{1,18})[ \t]*\r?\n", re.I)
_HEADER_END = re.compile(rb"\n\r?\n")
_DATE = re.compile(
    rb"\b([A-Z][a-z]{2}) +(\d{1,2}) +(\d{1,2}):(\d\d)(?::(\d\d))?(?: +(?:([+-]\d{4})|[A-Z]{1,5}))?"
    rb" +(\d{4})(?: +([+-]\d{4}))?\s*\Z"
)
_MONTHS = {name.encode(): number for number, name in enumerate(calendar.month_abbr) if name}
_QUOTED = re.compile(rb"^>(>*From )", re.M)


class Cut(msgspec.Struct):
    """A message as it stands in the file, quoting undone; `data` is None when it is too large."""

    from_line: bytes
    data: bytes | None
    end: int  # octets of the file up to here


class NoMbox(Exception):
    """The file does not begin as an mbox does."""


def cut(stream: IO[bytes]) -> Iterator[Cut]:
    """The messages of an mbox. Raises NoMbox, OSError."""
    reader = _Reader(stream)
    if not reader.begin():
        return
    while (found := reader.next()) is not None:
        yield found


def moment_of(from_line: bytes) -> int | None:
    """The date of a From line, in UTC where it names no zone; seconds since 1970."""
    found = _DATE.search(from_line)
    if found is None or found[1] not in _MONTHS:
        return None
    try:
        seconds = calendar.timegm(
            (int(found[7]), _MONTHS[found[1]], int(found[2]), int(found[3]), int(found[4]), int(found[5] or 0))
        )
    except (ValueError, OverflowError):
        return None
    zone = found[6] or found[8]
    if zone:
        offset = (int(zone[1:3]) * 60 + int(zone[3:5])) * 60
        seconds += offset if zone[:1] == b"-" else -offset
    return max(0, seconds)


class _Reader:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._at_end = False
        self._consumed = 0

    def begin(self) -> bool:
        """Whether there is anything in the file."""
        while not self._at_end and not self._buffer.strip(b"\r\n"):
            self._fill()
        blank = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
        self._drop(blank)
        if not self._buffer:
            return False
        if not self._buffer.startswith(b"From "):
            raise NoMbox("it does not begin with a From line")
        return True

    def next(self) -> Cut | None:
        if not self._buffer and self._at_end:
            return None
        while (line := _FROM.match(self._buffer)) is None and not self._at_end and len(self._buffer) < _MOST_FROM:
            self._fill()
        start = line.end() if line else len(self._buffer)
        from_line = bytes(self._buffer[:start])
        self._drop(start)
        self._trust_length()
        searched, large = 0, False
        length = self._length
        while True:
            found = _BOUNDARY.search(self._buffer, max(length, searched))
            if found is not None:
                data, end = self._buffer[: found.start()], found.end()
                break
            if self._at_end:
                data, end = self._buffer[:], len(self._buffer)
                for blank in (b"\r\n\r\n", b"\n\n"):
                    if data.endswith(blank):
                        del data[-len(blank) // 2 :]
                        break
                break
            searched = max(0, len(self._buffer) - _MOST_FROM - 100)
            if len(self._buffer) > LARGEST + _PIECE:
                large, length = True, 0
                self._drop(searched)
                searched = 0
            self._fill()
        self._drop(end)
        body = None if large or len(data) > LARGEST else bytes(data)
        if body is not None and b"From " in body:
            body = _QUOTED.sub(rb"\1", body)
        return Cut(from_line, body, self._consumed)

    def _trust_length(self) -> None:
        """Look where Content-Length leads: the message goes at least so far when a message begins there."""
        self._length = 0
        while (end := _HEADER_END.search(self._buffer)) is None and not self._at_end and len(self._buffer) < _PIECE:
            self._fill()
        if end is None:
            return
        given = _CONTENT_LENGTH.search(self._buffer, 0, end.end())
        if given is None or not 0 < (length := int(given[1])) <= LARGEST:
            return
        after = end.end() + length
        while len(self._buffer) < after + _MOST_FROM and not self._at_end:
            self._fill()
        if not 0 < after <= len(self._buffer):
            return
        last = self._at_end and not self._buffer[after : after + _MOST_FROM].strip(b"\r\n")
        # Some count the empty line, others leave out the last line end.
        if last or any(_BOUNDARY.match(self._buffer, after + off) for off in (0, -1, 1)):
            self._length = after - 1

    def _fill(self) -> None:
        piece = self._stream.read(_PIECE)
        if piece:
            self._buffer += piece
        else:
            self._at_end = True

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._consumed += count
