"""Where the octets of a message wait until it is whole.

A small message (at most 256 KiB) is collected in memory. A larger one goes to the store while it comes, in compressed
chunks of at most 1 MiB of an unfinished blob, and who feeds it pauses reading while a chunk is on its way. The same
spool takes SMTP DATA, BDAT and IMAP APPEND:

    spool = Spool(node)
    if (pause := spool.feed(data)) is not None:
        await pause                     # reading is paused until then; feed nothing meanwhile
    try:
        message = await spool.finish()  # raises SpoolError or StoreError: nothing was kept
        ... await store.write(deliver, message, ...)
        stored = True
    finally:
        spool.close(stored=stored)      # in any case, once

**The bound.** A worker holds at most

    budget + FLUSHES x 3 MiB + connections in transfer x 320 KiB

octets of content: the budget counts what spools hold; each chunk on its way exists joined and compressed, and once more
in the writer's group; every connection may hold one read of its transport that was not yet fed (256 KiB; its TLS layer
has another) and the head of its message (64 KiB). With the default budget of 64 MiB, 200 clients that send 100 MiB each
to one worker stay below 64 + 6 + 63 = 133 MiB. When the budget is used up a spool writes out what it has, however
little, and so do those that hold the most, whether their clients go on or not; one that has nothing waits.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Coroutine
from concurrent.futures import Executor
from typing import Protocol

import structlog

from pillarbox.mime.analysis import Scanner, analyse, outline
from pillarbox.store import blobs
from pillarbox.store.errors import StoreError
from pillarbox.store.records import NewMessage
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

from .memory import DiskGauge, MemoryBudget

log = structlog.get_logger()

SMALL = 256 * 1024  # octets that are kept in memory whole
# Octets that are analysed and compressed on the loop: 0.2 ms for an ordinary message. Handing it to a thread costs as
# much as that work, and makes both wait for the interpreter. Of a header so many: a hostile one takes a millisecond for
# each KiB.
INLINE = 128 * 1024
INLINE_HEADER = 16 * 1024
CHUNK = 1 << 20  # octets of a chunk before compression
CHUNK_DUE = CHUNK - 256 * 1024  # octets at which one goes out: with one more read it would be too large
PRESSED_CHUNK = 128 * 1024  # octets at which a chunk goes out while memory is short
HEAD = 64 * 1024  # octets of a large message's start that stay at hand, for reports
PATIENCE = 60.0  # seconds that a sender waits for memory
_serial = itertools.count()
LEAST_SPILL = 4096  # octets; less is not worth a chunk of its own
_SMALL_PIECE = 2048  # octets; smaller pieces are put together, a list entry costs more than they do


class SpoolError(Exception):
    """The message cannot be taken now: 452 4.3.1, IMAP NO [LIMIT]. The text says why."""


class SpoolHost(Protocol):
    """What a spool needs of its worker. `session.node.Node` is one."""

    @property
    def store(self) -> Store: ...
    @property
    def memory(self) -> MemoryBudget: ...
    @property
    def disk(self) -> DiskGauge: ...
    @property
    def threads(self) -> Executor: ...
    @property
    def owner(self) -> str: ...


class Spool:
    """One message on its way in. Belongs to one session; not thread-safe."""

    __slots__ = (
        "_blob_id",
        "_closed",
        "_fault",
        "_flight",
        "_flushed",
        "_held",
        "_host",
        "_owner",
        "_passing",
        "_pieces",
        "_scanner",
        "_sequence",
        "_stored",
        "has_8bit",
        "has_nul",
        "head",
        "hops",
        "size",
    )

    def __init__(self, host: SpoolHost) -> None:
        self._host = host
        self._pieces: list[bytes | bytearray] = []
        self._held = 0  # octets in _pieces that the budget counts
        self._flushed = 0
        self._sequence = 0
        self._blob_id: int | None = None
        self._owner = ""  # of the blob: this spool alone
        self._scanner: Scanner | None = None
        self._passing: bytes | None = None  # nobody will look into it: its Message-ID
        self._flight: asyncio.Task[None] | None = None  # a chunk is on its way
        self._closed = False
        self._stored = False
        self._fault: Exception | None = SpoolError("the disk is almost full") if host.disk.is_low() else None
        self.size = 0
        self.has_nul = False  # after finish: see `session.binary_mail`
        self.has_8bit = False  # after finish: whether octets above 127 came
        self.hops = 0  # after finish: Received fields
        self.head = b""  # after finish: the message, or the first HEAD octets of a large one

    def feed(self, data: bytes) -> Awaitable[None] | None:
        """Take the next octets. None: go on. Else await it, with reading paused, before the next call.

        Never raises; after a fault what comes is dropped, and `finish` tells the fault.
        """
        size = len(data)
        self.size += size
        if self._fault is not None or self._closed:
            return None
        memory = self._host.memory
        if self._flight is not None:  # the budget had us write out: after that
            return self._meanwhile(self._follow(self._flight, data))
        if not memory.take(size):
            return self._meanwhile(self._squeeze(data))
        self._hold(data, size)
        if self._held >= CHUNK_DUE or (self._held >= PRESSED_CHUNK and memory.pressed):
            return self._meanwhile(self._flush())
        return None

    def pass_on(self, message_id: bytes) -> None:
        """The message goes into no mailbox: a small one is not analysed. See `analysis.outline` for what it must be."""
        self._passing = message_id

    def finish_now(self) -> NewMessage | None:
        """The message, when it is so small that this needs no waiting; None: use `finish`. Raises as that does."""
        if self._fault is not None:
            raise self._fault
        if self._blob_id is not None or self._flight is not None or not self._is_light():
            return None
        return self._whole()

    async def finish(self) -> NewMessage:
        """The message, ready to be delivered or appended.

        Raises SpoolError (no memory, no disk) or what the store raised while chunks were written.
        """
        loop = asyncio.get_running_loop()
        if self._flight is not None:
            await asyncio.shield(self._flight)
        if self._fault is None and self._blob_id is None and self._held <= SMALL:
            if self._is_light():
                return self._whole()
            self._host.memory.holders.discard(self)  # it stays whole now
            return await loop.run_in_executor(self._host.threads, self._whole)
        if self._pieces and self._fault is None:
            await self._meanwhile(self._flush())
        if self._fault is not None:
            raise self._fault
        assert self._scanner is not None
        analysis = await loop.run_in_executor(self._host.threads, self._scanner.finish)
        return NewMessage(packed=None, blob_id=self._blob_id, analysis=analysis)

    def close(self, *, stored: bool = False) -> None:
        """Give everything back. Unless the message was stored, its chunks are freed in the background."""
        if self._closed:
            return
        self._closed = True
        self._stored = stored
        if self._flight is None:
            self._drop()

    abort = close

    @property
    def held(self) -> int:
        """Octets that `spill` would free, see `memory.Holder`."""
        return self._held if self._flight is None and self._held >= LEAST_SPILL else 0

    def spill(self) -> None:
        """Write out what is held: others need the memory."""
        self._meanwhile(self._flush())

    def _hold(self, data: bytes, size: int) -> None:
        if not self._held:
            self._host.memory.holders.add(self)
        self._held += size
        pieces = self._pieces
        if size >= _SMALL_PIECE or not pieces:
            pieces.append(data)
        elif isinstance(last := pieces[-1], bytearray) and len(last) < SMALL:
            last += data
        else:
            pieces.append(bytearray(data))

    def _is_light(self) -> bool:
        """Whether analysing what is held is nothing that the loop would notice."""
        if not INLINE_HEADER < self._held <= INLINE:
            return self._held <= INLINE_HEADER
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0].find(b"\r\n\r\n", 0, INLINE_HEADER) >= 0

    def _whole(self) -> NewMessage:
        pieces = self._pieces
        self._host.memory.holders.discard(self)
        data = bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
        self._pieces = [data]
        self.head = data
        self.has_nul = b"\0" in data
        self.has_8bit = not data.isascii()
        analysis = analyse(data) if self._passing is None else outline(data, self._passing)
        self.hops = _hops(data[: analysis.header_size])
        return NewMessage(packed=blobs.pack(data), blob_id=None, analysis=analysis)

    async def _squeeze(self, data: bytes) -> None:
        """Hold the data when there is room for it: write out what we hold already, else wait for others to do so."""
        if self._pieces:
            await self._flush()
        if self._fault is None and not self._closed:
            if await self._host.memory.wait(len(data), PATIENCE):
                self._hold(data, len(data))
            else:
                self._fault = SpoolError("too many messages are being received")

    async def _follow(self, flight: asyncio.Task[None], data: bytes) -> None:
        await flight
        if self._fault is None and not self._closed:
            await self._squeeze(data)

    def _meanwhile(self, work: Coroutine[None, None, None]) -> Awaitable[None]:
        """Do it in a task of its own: it is not cancelled with the session that waits for it, since an interrupted
        write would leave chunks that nobody knows of."""
        self._flight = flight = _background(work)
        flight.add_done_callback(self._landed)
        return asyncio.shield(flight)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        if self._flight is flight:
            self._flight = None
        if self._closed and self._flight is None:
            self._drop()

    async def _flush(self) -> None:
        """Send what is held to the store, as one chunk or, when much came in one piece, as several."""
        host = self._host
        pieces, held = self._pieces, self._held
        self._pieces, self._held = [], 0
        host.memory.holders.discard(self)
        try:
            async with host.memory.flushing:
                loop = asyncio.get_running_loop()
                chunks = await loop.run_in_executor(host.threads, self._pack, pieces)
                self._owner = self._owner or f"{host.owner}/{next(_serial)}"
                for size, packed in chunks:
                    self._blob_id = await host.store.write(
                        _add, self._blob_id, self._owner, self._sequence, self._flushed, size, packed, size=len(packed)
                    )
                    self._flushed += size
                    self._sequence += 1
        except StoreError as error:
            self._fault = error
        except Exception as error:
            log.exception("A chunk of a message was not written")
            self._fault = SpoolError(str(error))
        finally:
            host.memory.release(held)

    def _pack(self, pieces: list[bytes | bytearray]) -> list[tuple[int, bytes]]:
        # In a thread, while nobody feeds: the scanner sees the chunks in order.
        raw = b"".join(pieces)
        pieces.clear()
        if self._scanner is None:
            self._scanner = Scanner()
            self.head = raw[:HEAD]
            self.hops = _hops(raw.partition(b"\r\n\r\n")[0])
        self._scanner.feed(raw)
        self.has_nul = self.has_nul or b"\0" in raw
        self.has_8bit = self.has_8bit or not raw.isascii()
        if len(raw) <= CHUNK:
            return [(len(raw), blobs.pack(raw))]
        cuts = (raw[at : at + CHUNK] for at in range(0, len(raw), CHUNK))
        return [(len(cut), blobs.pack(cut)) for cut in cuts]

    def _drop(self) -> None:
        """Give up what is held, in memory and in the store."""
        self._pieces = []
        self._host.memory.holders.discard(self)
        self._host.memory.release(self._held)
        self._held = 0
        if self._blob_id is not None and not self._stored:
            self._blob_id = None
            _background(_free(self._host.store, self._owner))


def _hops(header: bytes) -> int:
    """Received fields in a header."""
    lower = header.lower()
    return lower.count(b"\nreceived:") + lower.startswith(b"received:")


def _add(tx: Tx, blob_id: int | None, owner: str, sequence: int, offset: int, size: int, packed: bytes) -> int:
    """One more chunk; the first begins the blob. The blob's id."""
    if blob_id is None:
        blob_id = blobs.begin(tx, owner)
    blobs.add_chunk(tx, blob_id, sequence, offset, size, packed)
    return blob_id


_running: set[asyncio.Task[None]] = set()  # a task that nobody holds may be collected before it ends


def _background(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


async def _free(store: Store, owner: str) -> None:
    try:
        await store.write(blobs.free_unfinished, lambda other: other != owner)
    except StoreError as error:
        # Not lost: chunks of unfinished blobs are freed again when their worker is gone.
        log.warning("Chunks of an unfinished message were not freed", owner=owner, error=str(error))


__all__ = ["CHUNK", "INLINE", "SMALL", "Spool", "SpoolError", "SpoolHost"]
