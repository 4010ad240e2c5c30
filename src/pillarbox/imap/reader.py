"""The octets that wait to be understood: lines and counted pieces are taken from the front."""

from __future__ import annotations

from typing import Final


class Overlong:
    """A line has more octets than it may have."""


OVERLONG: Final = Overlong()


class Reader:
    """A buffer that never looks at an octet twice for the end of a line, however small the pieces it is fed."""

    __slots__ = ("_searched", "buffer")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self._searched = 0  # octets known to hold no LF

    def feed(self, data: bytes) -> None:
        self.buffer += data

    def clear(self) -> None:
        self.buffer.clear()
        self._searched = 0

    def line(self, limit: int) -> bytes | Overlong | None:
        """The next line without its CRLF (a bare LF ends one too), `OVERLONG` over `limit` octets, None: not yet.

        An overlong line stays where it is; `drop_line` gets rid of it.
        """
        buffer = self.buffer
        end = buffer.find(b"\n", self._searched, limit + 2)
        if end < 0:
            self._searched = min(len(buffer), limit + 2)
            return OVERLONG if len(buffer) >= limit + 2 else None
        stop = end - 1 if end and buffer[end - 1] == 0x0D else end
        if stop > limit:
            return OVERLONG
        line = bytes(buffer[:stop])
        del buffer[: end + 1]
        self._searched = 0
        return line

    def take(self, most: int) -> bytes:
        """Up to so many octets from the front."""
        piece = bytes(self.buffer[:most])
        del self.buffer[:most]
        self._searched = 0
        return piece

    def drop(self, most: int) -> int:
        """Forget up to so many octets; how many they were."""
        size = min(most, len(self.buffer))
        del self.buffer[:size]
        self._searched = 0
        return size

    def drop_line(self, tail: bytearray, keep: int) -> bool:
        """Forget the rest of a line; its last `keep` octets gather in `tail`. True when its end was found."""
        end = self.buffer.find(b"\n")
        size = len(self.buffer) if end < 0 else end + 1
        tail += self.buffer[max(0, size - keep) : size]
        del tail[:-keep]
        del self.buffer[:size]
        self._searched = 0
        return end >= 0
