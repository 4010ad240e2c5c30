"""The octets of a message in the store, slice by slice from the store: as they are, or encoded anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import structlog

from pillarbox.mime.downgrade import (
    SLICE,
    Copy,
    Downgrade,
    Insert,
    Read,
    has_ascii_headers,
    plan_downgrade,
    plan_storage,
    structure,
)
from pillarbox.mime.encoder import encoder_for
from pillarbox.store import blobs
from pillarbox.store.errors import Corrupt, Temporary
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

from .outgoing_timeouts import BLOCK

log = structlog.get_logger()

# Seconds between two tries to read what the store cannot give just now: half a minute in all, as a database takes that
# is started again, and well within the time for which a claim holds without a word to the store.
PAUSES = (0.1, 0.4, 1.0, 2.0, *[3.0] * 9)


class Content:
    """Prefix and blob as one run of octets. At most about a slice of it is in memory; the first one stays."""

    def __init__(self, store: Store, prefix: bytes, blob_id: int, size: int, whole: bytes | None = None) -> None:
        """`whole`: all of the blob, where it is at hand."""
        self.size = size  # of what `pieces` gives
        self._store = store
        self._prefix = prefix
        self._blob_id = blob_id
        self._stored_size = size
        self._first: bytes | None = None if whole is None else prefix + whole
        self._anew: Downgrade | None = None

    async def begin(self) -> None:
        """Read the first slice, so that a message that cannot be read is noticed before anything is said. Raises
        StoreError."""
        if self._first is None:
            length = min(SLICE, self._stored_size - len(self._prefix))
            self._first = self._prefix + (await self._slice(0, length) if length > 0 else b"")

    async def begin_in_time(self) -> None:
        """`begin`, and wait for a store that is away for a moment: to put the message off would take far longer.
        Raises StoreError."""
        for pause in PAUSES:
            try:
                return await self.begin()
            except Temporary as error:
                log.debug("A queued message cannot be read yet", error=str(error))
            await asyncio.sleep(pause)
        return await self.begin()

    @property
    def head(self) -> bytes:
        """The beginning of what came, without what we put in front; after `begin`."""
        return (self._first or b"")[len(self._prefix) :]

    async def has_ascii_headers(self) -> bool:
        """Whether it can go without SMTPUTF8. Raises StoreError."""
        return await self._store.scan(self._look)

    async def downgrade(self, *, eight_bit: bool) -> None:
        """Give it in a form for a server without BINARYMIME, and without 8BITMIME unless `eight_bit`. Raises
        Untouchable and StoreError."""
        await self._encode(partial(plan_downgrade, eight_bit=eight_bit))

    async def encode_nul(self) -> None:
        """Give it in the form that a mailbox holds, see `plan_storage`. Raises Untouchable and StoreError."""
        await self._encode(plan_storage)

    async def _encode(self, plan: Callable[[int, Read], Downgrade]) -> None:
        self._anew = await self._store.scan(self._plan, plan)
        self.size = self._anew.size

    def as_it_is(self) -> None:
        """Take a `downgrade` back."""
        self._anew, self.size = None, self._stored_size

    @property
    def at_hand(self) -> bytes | None:
        """All of it, where it goes as it is and is one piece that `begin` has read; else None."""
        first = self._first
        if first is None or self._anew is not None or not 0 < len(first) == self._stored_size <= BLOCK:
            return None
        return first

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it, in pieces of at most about BLOCK octets; a small message in one. Raises StoreError."""
        if self._anew is None:
            async for piece in self._between(0, self._stored_size):
                yield piece
            return
        for part in self._anew.pieces:
            match part:
                case Insert(data):
                    yield data
                case Copy(start, end):
                    async for piece in self._between(start, end):
                        yield piece
                case _:
                    encoder = encoder_for(part.encoding)
                    async for piece in self._between(part.start, part.end):
                        yield encoder.feed(piece)
                    yield encoder.end()

    async def _between(self, start: int, end: int) -> AsyncIterator[bytes]:
        first = self._first or b""
        while start < end:
            if start < len(first):
                piece = first[start:end] if start or end < len(first) else first
            else:
                piece = await self._slice(start - len(self._prefix), min(SLICE, end - start))
            for at in range(0, len(piece), BLOCK):
                yield piece[at : at + BLOCK]
            start += len(piece)

    async def _slice(self, start: int, length: int) -> bytes:
        data = await self._store.read(blobs.read_slice, self._blob_id, start, length)
        if len(data) != length:  # a part must not go out as the whole
            raise Corrupt(f"blob {self._blob_id} is shorter than its queue entry says")
        return data

    # These run in a thread of the store.

    def _look(self, tx: Tx) -> bool:
        root = structure(self._stored_size, lambda start, length: self._read(tx, start, length))
        return has_ascii_headers(root, lambda start, length: self._read(tx, start, length))

    def _plan(self, tx: Tx, plan: Callable[[int, Read], Downgrade]) -> Downgrade:
        return plan(self._stored_size, lambda start, length: self._read(tx, start, length))

    def _read(self, tx: Tx, start: int, length: int) -> bytes:
        head = self._prefix[start : start + length]
        if len(head) == length:
            return head
        at = max(start - len(self._prefix), 0)
        return head + blobs.read_slice(tx, self._blob_id, at, length - len(head))
