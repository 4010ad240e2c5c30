"""DEFLATE on a connection (RFC 1951 as RFC 4978 has it): raw, flushed after each answer, bounded in both directions.

A session costs 32 KiB for what goes out (a window of 4 KiB, which every receiver can read) and up to 40 KiB for what
comes in, whose window the client chooses. What comes in is expanded a piece at a time and only as it is understood, so
that a few octets that stand for a gigabyte cost no more than others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

LEVEL = 1
WINDOW = 12  # bits, of what goes out
MEMORY = 5  # zlib's memLevel
PIECE = 64 * 1024  # octets that come out at once

BadStream = zlib.error
"""What came is no DEFLATE."""


class Compression:
    """Both directions of one connection."""

    __slots__ = ("_deflate", "_inflate", "_more", "_waiting")

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW, MEMORY)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._waiting = b""
        self._more = False  # zlib holds back output that did not fit into the last piece

    @property
    def held(self) -> int:
        """Octets received and not expanded yet."""
        return len(self._waiting)

    def outgoing(self, pieces: Iterable[bytes]) -> list[bytes]:
        """What is to be sent for these octets; the receiver can read all of them."""
        packed = [squeezed for piece in pieces if (squeezed := self._deflate.compress(piece))]
        packed.append(self._deflate.flush(zlib.Z_SYNC_FLUSH))
        return packed

    def hold(self, data: bytes) -> None:
        """Take what arrived."""
        self._waiting += data

    def incoming(self) -> bytes:
        """The next piece of what the client said, b"" when more must arrive. Raises BadStream."""
        if not self._waiting and not self._more:
            return b""
        if self._inflate.eof:
            raise BadStream("the client has ended its stream and goes on")
        piece = self._inflate.decompress(self._waiting, PIECE)
        self._waiting = self._inflate.unconsumed_tail or self._inflate.unused_data
        self._more = len(piece) == PIECE
        return piece
