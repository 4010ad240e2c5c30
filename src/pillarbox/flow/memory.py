"""The bounds of what receiving may take: memory of a worker, free space of the disk.

Both are asked for every piece of every message, so asking is a comparison; who has to wait is the exception.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

MIB = 1 << 20
DEFAULT_BUDGET = 64 * MIB  # octets of message content that one worker holds
FLUSHES = 2  # chunks of large messages on their way to the store at once
_SPILLS = 16  # holders made to write at a time
MIN_FREE_DISK = 256 * MIB  # octets; with less, no message is taken (452 4.3.1)


class Holder(Protocol):
    """What holds counted octets and can write them out when others wait for memory."""

    @property
    def held(self) -> int:
        """Octets that `spill` would give back; 0 when it cannot now."""

    def spill(self) -> None:
        """Begin to write them out; they are released when that is done."""


class MemoryBudget:
    """Octets of message content held by this worker. Not a lock: the bytes exist when they are counted.

    Waiters are served in the order in which they came, so a big sender cannot be starved by many small ones. While
    somebody waits, the holders of the most octets are made to write them out, so that clients who begin messages and
    never go on cannot keep the memory.
    """

    __slots__ = ("_waiting", "flushing", "holders", "limit", "used")

    def __init__(self, limit: int = DEFAULT_BUDGET, flushes: int = FLUSHES) -> None:
        self.limit = limit
        self.used = 0
        self.flushing = asyncio.Semaphore(flushes)  # held while a chunk is compressed and written
        self.holders: set[Holder] = set()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take(self, size: int) -> bool:
        """Count `size` octets; False, and not counted, when they do not fit or others wait already."""
        if self._waiting or not self._fits(size):
            return False
        self.used += size
        return True

    async def wait(self, size: int, patience: float) -> bool:
        """Count `size` octets as soon as they fit; False when that took longer than `patience` seconds."""
        if self.take(size):
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._waiting.append(entry)
        self._relieve()
        try:
            await asyncio.wait((turn,), timeout=patience)  # which needs no task, other than asyncio.timeout
            return turn.done()
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(size)
            raise
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._serve()

    def release(self, size: int) -> None:
        """Give octets back."""
        self.used -= size
        if self._waiting:
            self._serve()
            if self._waiting:
                self._relieve()

    @property
    def pressed(self) -> bool:
        """Whether so much is in use that who can do with less should."""
        return self.used * 4 > self.limit * 3 or bool(self._waiting)

    def _fits(self, size: int) -> bool:
        return self.used + size <= self.limit or not self.used  # what is larger than the limit goes through alone

    def _serve(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.used += size
                turn.set_result(None)

    def _relieve(self) -> None:
        """Make those who hold the most write it out, as many as it takes to serve who waits."""
        wanted = sum(size for size, _ in self._waiting)
        for holder in heapq.nlargest(_SPILLS, self.holders, key=lambda holder: holder.held):
            if wanted <= 0 or not holder.held:
                break
            wanted -= holder.held
            holder.spill()


class DiskGauge:
    """Whether the disk of the store has room, looked up at most once in `every` seconds and never on the loop.

    `low` is a cached answer. A write that fails for lack of room may call `full` so that all know at once.
    """

    __slots__ = ("_checked", "_checking", "_clock", "_every", "_free", "_path", "_threads", "least", "low")

    def __init__(
        self,
        path: str,
        threads: Executor | None = None,
        *,
        least: int = MIN_FREE_DISK,
        every: float = 2.0,
        free: Callable[[str], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.low = False
        self.least = least
        self._path = path
        self._threads = threads
        self._every = every
        self._clock = clock
        self._free = free or free_octets
        self._checked = float("-inf")
        self._checking: asyncio.Future[None] | None = None

    def is_low(self) -> bool:
        """The last answer; asks anew in a thread when it is old."""
        if self._clock() - self._checked >= self._every and self._checking is None:
            loop = asyncio.get_running_loop()
            self._checking = loop.run_in_executor(self._threads, self._look)
            self._checking.add_done_callback(self._looked)
        return self.low

    async def settled(self) -> None:
        """Wait for the look that is under way; at start and in tests, to begin with a true answer."""
        if self._checking is not None:
            await self._checking

    def full(self) -> None:
        """A write has failed for lack of room."""
        self.low = True
        self._checked = self._clock()

    def _look(self) -> None:
        try:
            self.low = self._free(self._path) < self.least
        except OSError:
            self.low = False  # the write itself will tell

    def _looked(self, done: asyncio.Future[None]) -> None:
        self._checked = self._clock()
        self._checking = None


def free_octets(path: str) -> int:
    """Free octets for us on the file system that holds `path` (a file that may not exist yet)."""
    directory = os.path.dirname(os.path.abspath(path))
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize
