"""What the scheduler of a worker and the runs of its destinations share."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from pillarbox.access.ledger import Slot as Counters
from pillarbox.store.store import Store

from ..parcel import Carrier
from .policy import Policy
from .slots import Slots

LEASE = 300  # seconds that rows and destinations are ours without another word
RENEW = 100.0  # seconds between two words
GRACE = 60.0  # seconds before the end of the lease from which on nothing more is begun


HELD = 8 * 1024 * 1024  # octets of messages that wait in memory to be sent, of a worker


class Held:
    """Octets of messages that are kept until they are sent, so that they need not be read again."""

    def __init__(self, limit: int = HELD) -> None:
        self._limit = limit
        self.octets = 0

    def take(self, size: int) -> bool:
        """Count them; False, and not counted, when there is no room."""
        if self.octets + size > self._limit:
            return False
        self.octets += size
        return True

    def release(self, size: int) -> None:
        self.octets -= size


LEAST, MOST = 0.004, 0.02  # seconds that outcomes wait for others, so that one commit settles them together

T = TypeVar("T")


class Company:
    """Who has something to write that can wait a moment goes along with who cannot: one commit for both."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: set[Callable[[], None]] = set()

    def leaves(self) -> None:
        """Somebody is about to write: those who wait do it now, before."""
        for go in tuple(self._waiting):
            go()

    async def wait(self, write: Callable[[], T]) -> T:
        """Call `write`, from LEAST to MOST seconds from now, when somebody else is about to write; what it gave."""
        loop = self._loop
        written: asyncio.Future[T] = loop.create_future()

        def go() -> None:
            self._waiting.discard(go)
            if written.done():
                return
            try:
                written.set_result(write())
            except Exception as error:
                written.set_exception(error)

        timers = [loop.call_later(LEAST, self._waiting.add, go), loop.call_later(MOST, go)]
        try:
            return await written
        finally:
            for timer in timers:
                timer.cancel()
            self._waiting.discard(go)


class Senders(Protocol):
    """Says how a sender is written to the next hop when an address of ours forwarded the message."""

    def __call__(self, sender: str, via: str) -> Awaitable[str]:
        """`via`: the address that forwarded it. Raises nothing but CancelledError."""


@dataclass(slots=True)
class Parts:
    """`loop` is the running one, which Python 3.11 asks the system for each time. `clock` in epoch seconds, `chance`
    gives numbers in [0, 1), `ids` names for reports.

    `siblings`: other workers that may send to a destination while one of us has it, see `handover`.
    """

    store: Store
    carrier: Carrier
    policy: Callable[[], Policy]
    holder: str
    counters: Counters
    ids: Callable[[], str]
    senders: Senders
    slots: Slots
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    clock: Callable[[], float] = time.time
    chance: Callable[[], float] = field(default=random.random)
    siblings: int = 0
    held: Held = field(default_factory=Held)
    company: Company = field(default_factory=Company)

    def share(self, most: int) -> int:
        """Lanes, of `most` in all, that belong to a worker which sends where another has the lease; may be none."""
        return most // 2 // self.siblings if self.siblings else 0
