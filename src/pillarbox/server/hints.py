"""Workers tell each other what they committed: one small datagram to each sibling.

Commits that follow each other closely are told together, so that a busy worker does not wake the others for each of
them; the directory (a changed password) does not wait. It is only a hint. When a socket's buffer is full or a worker is
just being replaced it is lost, and the sibling finds the change by itself a second later.
"""

from __future__ import annotations

import asyncio
import socket
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from pillarbox.access.ledger import Ledger

Pair = tuple[int, int]  # user id, mailbox id
MOST = 1000  # pairs in a datagram; with more it is empty and says "look at everything"
SPACING = 0.01  # seconds between two datagrams to a sibling
_DIRECTORY: Pair = (0, 0)
_AT_ONCE = 100  # datagrams taken in one turn of the loop


def encode(pairs: Sequence[Pair]) -> bytes:
    if len(pairs) > MOST:
        return b""
    return array("q", [number for pair in pairs for number in pair]).tobytes()


def decode(data: bytes) -> list[Pair]:
    """The pairs; none of them for "look at everything" and for what is no hint."""
    if len(data) % 16:
        return []
    numbers = array("q", data)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


class Sockets:
    """A pair of sockets for each worker slot, made before the fork and kept while workers come and go."""

    def __init__(self, slots: int) -> None:
        self.pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(slots)]
        self._set_up()

    @classmethod
    def of(cls, numbers: Iterable[tuple[int, int]]) -> Self:
        """Those of another program, by their descriptors."""
        sockets = cls(0)
        sockets.pairs = [(socket.socket(fileno=one), socket.socket(fileno=other)) for one, other in numbers]
        sockets._set_up()
        return sockets

    def numbers(self) -> list[tuple[int, int]]:
        return [(one.fileno(), other.fileno()) for one, other in self.pairs]

    def close(self) -> None:
        for ends in self.pairs:
            for end in ends:
                end.close()

    def _set_up(self) -> None:
        for ends in self.pairs:
            for end in ends:
                end.setblocking(False)


class Hints:
    """One worker's end: `tell` after a commit, `heard` is called with what siblings told."""

    def __init__(self, sockets: Sockets, ledger: Ledger, slot: int, heard: Callable[[list[Pair]], None]) -> None:
        self._ledger = ledger
        self._slot = slot
        self._heard = heard
        self._inbox = sockets.pairs[slot][0]
        self._outboxes = [ends[1] for ends in sockets.pairs]
        self._pending: dict[Pair, None] = {}
        self._told = 0.0  # when, on the loop's clock
        self._due: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._inbox.fileno(), self._read)

    def stop(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._flush()
        if self._loop is not None:
            self._loop.remove_reader(self._inbox.fileno())
            self._loop = None

    def tell(self, pairs: Iterable[Pair]) -> None:
        """Called on the loop after a commit."""
        self._pending.update(dict.fromkeys(pairs))
        loop = self._loop
        if loop is None:
            return
        wait = 0.0 if _DIRECTORY in self._pending else self._told + SPACING - loop.time()
        if self._due is not None:
            if wait > 0:
                return
            self._due.cancel()
        # A turn later than the answers to those who waited for the commit, whose writes end this one.
        self._due = loop.call_later(wait, self._flush) if wait > 0 else loop.call_soon(loop.call_soon, self._flush)

    def _flush(self) -> None:
        self._due = None
        if not self._pending or self._loop is None:
            return
        pairs, self._pending = list(self._pending), {}
        self._told = self._loop.time()
        data = encode(pairs)
        for slot in self._ledger.live():
            if slot != self._slot:
                try:
                    self._outboxes[slot].send(data)
                except OSError:  # full, or nobody reads it any more: the sibling will look by itself
                    continue

    def _read(self) -> None:
        pairs: dict[Pair, None] = {}
        everything = False
        for _ in range(_AT_ONCE):
            try:
                data = self._inbox.recv(MOST * 16)
            except OSError:
                break
            got = decode(data)
            everything = everything or not got
            pairs.update(dict.fromkeys(got))
        if pairs or everything:
            self._heard([] if everything else list(pairs))
