"""The story of a message: what a worker notes about it on its way, for `pillarbox trace`.

Notes wait in memory and go into the store in one write about twice a second, so that a message costs no commit of its
own for them. Up to half a second of notes is lost by a crash: they tell, they promise nothing. Attempts of delivery are
not noted here: `entry` makes their rows, and the transaction that settles the attempt writes them.

    node.story.note(key, "accepted", sender="a@example.org", peer="192.0.2.1:40000", hello="mx.example.org")

The facts that `pillarbox trace` puts into sentences, as text unless said otherwise: of the client `peer`, `hello`,
`tls`, `user` (account), `via` ("lmtp", "sendmail", ...); of the message `size` (number) and `header_id` (its
Message-ID); of an answer `stage`, `code` (number), `enhanced`, `text`, of a next hop `host`, `address`, `tls`;
`mailbox`, `destination`, `next_at` (seconds since 1970), `operator`. Any other is shown by its name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from pillarbox.store.errors import StoreError, Temporary
from pillarbox.store.events import add_events
from pillarbox.store.records import Event
from pillarbox.store.store import Store
from pillarbox.store.text import storable

log = structlog.get_logger()

# Nothing is written of a connection that brings no envelope.
KINDS = (
    "accepted",  # we answered 250: we have it
    "refused",  # a sender, a recipient or the message; the detail has stage, code and text
    "delivered",  # into a mailbox
    "queued",
    "attempt",  # one try of one recipient at a host, whatever came of it
    "deferred",
    "relayed",  # a next hop has it
    "bounced",
    "expired",
    "held",
    "released",
    "moved",
    "retried",  # an operator wants it tried now
    "deleted",
    "forgotten",  # a dead letter, after its time
    "discarded",  # as a route rule says
    "report",  # a report about it was sent
)

DELAY = 0.5  # seconds from a note to its write
MOST = 20_000  # notes that wait; more are dropped, and counted in the log
REFUSALS = 600  # in a row that are noted; then
REFUSALS_A_SECOND = 2  # so that guessing addresses all day does not fill the disk
BATCH = 1000  # notes of one write
RETRY = 5.0  # seconds until a write that failed for now is tried again

_encode = msgspec.json.Encoder().encode


def entry(
    at: float,
    message_key: str,
    kind: str,
    *,
    sender: str = "",
    recipient: str = "",
    queue_id: int | None = None,
    **detail: Any,
) -> Event:
    """A row for `store.events.add_events`. `at` in seconds; of `detail` what is None, "", 0 or False is left out."""
    facts = {name: value for name, value in detail.items() if value}
    try:
        text = _encode(facts).decode() if facts else ""
    except UnicodeEncodeError:
        text = _encode({name: storable(str(value)) for name, value in facts.items()}).decode()
    return Event(int(at * 1000), message_key, kind, sender, recipient, queue_id, text)


class Story:
    """One worker's notes. Belongs to the event loop that is running when the first note comes."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._waiting: list[Event] = []
        self._dropped = 0
        self._tokens, self._filled_at = float(REFUSALS), clock()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    def note(
        self,
        message_key: str,
        kind: str,
        *,
        sender: str = "",
        recipient: str = "",
        queue_id: int | None = None,
        **detail: Any,
    ) -> None:
        """Remember that this happened now. Never waits and never fails."""
        if kind == "refused" and not self._noteworthy():
            return
        at = self._clock()
        self.add([entry(at, message_key, kind, sender=sender, recipient=recipient, queue_id=queue_id, **detail)])

    def add(self, events: Sequence[Event]) -> None:
        """Remember events that are made already."""
        if self._closed or len(self._waiting) + len(events) > MOST:
            self._dropped += len(events)
            return
        self._waiting += events
        if self._timer is None and self._writing is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self._due)

    def _noteworthy(self) -> bool:
        """Whether one more refusal is noted; a bucket of tokens."""
        now = self._clock()
        self._tokens = min(REFUSALS, self._tokens + max(0.0, now - self._filled_at) * REFUSALS_A_SECOND)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def flush(self) -> None:
        """Write what waits now."""
        await self._written()
        self._cancel()
        if self._waiting:
            self._due()
            await self._written()

    async def close(self) -> None:
        """Write the last notes; later ones are dropped. Before the store is closed."""
        await self.flush()
        self._closed = True
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _written(self) -> None:
        # A task that is done is never found here, see `_write`: to await one lets nobody else run.
        while self._writing is not None:
            await asyncio.shield(self._writing)

    async def _write(self) -> None:
        again = DELAY
        batch, self._waiting = self._waiting, []
        dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warning("The story of messages has gaps: %d notes were dropped", dropped)
        try:
            for start in range(0, len(batch), BATCH):
                try:
                    await self._store.write(add_events, batch[start : start + BATCH])
                except Temporary as error:
                    log.warning("Notes about messages cannot be written yet: %s", error)
                    self._waiting = (batch[start:] + self._waiting)[:MOST]
                    again = RETRY
                    break
                except StoreError as error:
                    log.error("Notes about messages were lost: %s", error)
        finally:
            self._writing = None
        if self._waiting and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(again, self._due)
