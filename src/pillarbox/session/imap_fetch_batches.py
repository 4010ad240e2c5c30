"""Responses of FETCH that wait for their octets, and go out in batches: one visit to the store and one write each.

While the client takes a batch the next one is read, in a thread. What is written waits for the client, so a fetch of a
whole mailbox holds two batches of it in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pillarbox.session.imap_sections import Cut, Piece
from pillarbox.session.imap_stream import PIECE, decoded_size, stream
from pillarbox.store import Tx, blobs
from pillarbox.store.errors import StoreError

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

_INLINE = 64 * 1024  # octets that are read on the loop, when there are no more
_BATCH = PIECE  # octets of a batch

Response = tuple[int, list[Piece]]  # a blob, and what is to be sent in its order


class Batches:
    """Of one FETCH: `add` the responses in their order, then `done`; `close` in any case."""

    def __init__(self, session: ImapSession) -> None:
        self._session = session
        self._responses: list[Response] = []  # of the batch that grows
        self._octets = 0
        self._begun = False  # something was sent: it is a longer answer
        self._coming: tuple[list[Response], asyncio.Future[list[bytes]]] | None = None  # the batch that is being read

    async def add(self, blob_id: int, pieces: list[Piece]) -> None:
        """Take a response; sends those collected when they become many, and a large one by itself, in slices."""
        octets = sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in pieces)
        if octets > _BATCH:
            await self.done()
            await self._stream(blob_id, pieces)
            return
        if self._octets + octets > _BATCH or (not self._begun and self._octets <= _INLINE < self._octets + octets):
            await self._turn()
        self._responses.append((blob_id, pieces))
        self._octets += octets

    async def done(self) -> None:
        """Send all there is."""
        await self._turn()
        await self._send_coming()

    def close(self) -> None:
        """Nobody waits for what is being read any more."""
        if self._coming is not None:
            self._coming[1].cancel()
            self._coming = None

    async def _turn(self) -> None:
        """Have the batch that has grown be read, and meanwhile send the one before it. A small one is sent at once."""
        responses, octets = self._responses, self._octets
        self._responses, self._octets = [], 0
        wanted = [
            (blob_id, piece.start, piece.length)
            for blob_id, pieces in responses
            for piece in pieces
            if isinstance(piece, Cut) and piece.length
        ]
        if wanted and octets > _INLINE:
            reading = self._session.store.scan(_slices, wanted)
            try:
                await self._send_coming()
            finally:
                self._coming = (responses, reading)  # also when sending failed: `close` gives it up
            return
        await self._send_coming()
        await self._send(responses, await self._session.store.read(_slices, wanted) if wanted else [])

    async def _send_coming(self) -> None:
        coming, self._coming = self._coming, None
        if coming is not None:
            await self._send(coming[0], await coming[1])

    async def _send(self, responses: list[Response], slices: Sequence[bytes]) -> None:
        """Send, and wait until the client has taken enough of it."""
        if not responses:
            return
        rest: Iterator[bytes] = iter(slices)
        out: list[bytes] = []
        for _, pieces in responses:
            for piece in pieces:
                if isinstance(piece, bytes):
                    out.append(piece)
                else:
                    out += piece.item(next(rest) if piece.length else b"")
        self._begun = True
        self._session.core.write(b"".join(out))
        await self._session.drained()

    async def _stream(self, blob_id: int, pieces: list[Piece]) -> None:
        """One large response. Once its first octet is out, only the end of the connection can end it early."""
        session = self._session
        sizes = [
            await decoded_size(session, blob_id, piece) if isinstance(piece, Cut) and piece.encoding else 0
            for piece in pieces
        ]
        try:
            for piece, size in zip(pieces, sizes, strict=True):
                if isinstance(piece, bytes):
                    session.core.write(piece)
                elif piece.fields:
                    octets = await session.store.scan(blobs.read_slice, blob_id, piece.start, piece.length)
                    session.core.write(b"".join(piece.item(octets)))
                elif piece.section.kind == "BINARY.SIZE":
                    session.core.write(b"%b %d" % (piece.section.label, size))
                else:
                    await stream(session, blob_id, piece, size if piece.encoding else piece.size)
                await session.drained()
        except StoreError:
            session.abort()  # half a response cannot be taken back
            raise


def _slices(tx: Tx, wanted: Sequence[tuple[int, int, int]]) -> list[bytes]:
    return [
        blobs.read_slice(tx, blob_id, start, length) if start else blobs.read_start(tx, blob_id, length)
        for blob_id, start, length in wanted
    ]
