"""What came of parcels, until it is settled: judged at once, written together with the next claim, or at the end.

What is settled is forgotten only after the commit. When that fails nothing new is sent, since what was sent and not
settled would be sent twice after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

import structlog
from msgspec import structs

from pillarbox.access.ledger import Field
from pillarbox.store import StoreError, queue_settle
from pillarbox.store.errors import Temporary
from pillarbox.store.records import QueuedMessage

from ..parcel import Kind, Outcome, Reply
from ..report_text import plain
from . import journal
from .batch import Load
from .parts import Parts
from .settle import Settled, settle
from .stock import Stock
from .turn import leave, turn
from .verdict import Attempt, Judged, judge, untried

log = structlog.get_logger()

AGAIN = 1.0  # seconds until a turn that failed is tried again
LEAVES = 3  # tries to write the last of it

_Written = tuple[Settled, list[QueuedMessage], int]  # see `turn.turn`


class Turned(NamedTuple):
    """`rows` claimed, `hastened` how many. `fault`: the store is not there for now, or it cannot do this; then nothing
    was claimed."""

    rows: list[QueuedMessage]
    hastened: int = 0
    fault: Literal["", "later", "never"] = ""


class Results:
    """Of one run. `stuck`: the last turn failed for now."""

    def __init__(self, parts: Parts, destination_id: int, name: str, stock: Stock) -> None:
        self._parts = parts
        self._id = destination_id
        self._name = name
        self._stock = stock
        self._came: list[Judged] = []
        self.stuck = False

    def __len__(self) -> int:
        """Attempts that wait to be settled."""
        return len(self._came)

    def add(
        self, load: Load, outcomes: Sequence[Outcome], began: float, mail_from: str, kind: Kind, *, tried: bool
    ) -> None:
        """What became of a parcel at a hop of this kind. `began` in epoch seconds."""
        policy, now = self._parts.policy(), int(self._parts.clock())
        chance = self._parts.chance()  # the same for all, so that they are tried together again
        of_row = {outcome.queue_id: _storable(outcome) for outcome in outcomes}
        for row in load.rows:
            outcome = of_row.get(row.id) or Outcome(row.id, "deferred", Reply("PROTOCOL", 451, "4.3.0", "No outcome"))
            attempt = Attempt(row, outcome, began, kind, mail_from, tried)
            self._came.append((attempt, judge(attempt, now, policy, chance)))

    def untried(self, rows: Sequence[QueuedMessage], kind: Kind) -> None:
        """These are not sent after all."""
        began = self._parts.clock()
        self._came += [untried(row, began, kind) for row in rows]

    def turn(self, want: int, back: bool) -> Coroutine[None, None, Turned]:
        """Settle, and claim up to `want` rows; `back`: those that were put off are due. Written at once, to be awaited
        all the same."""
        parts, came = self._parts, self._came
        written = parts.store.write(
            turn, self._id, parts.holder, came, parts.policy(), self._names(came), parts.clock(), want, back
        )
        self._came = []
        return self._turned(came, written)

    async def _turned(self, came: list[Judged], written: Awaitable[_Written]) -> Turned:
        try:
            settled, rows, hastened = await written
        except Temporary as error:
            log.warning("The queue cannot be settled yet: %s", error, destination=self._name)
            self._came = came + self._came
            self.stuck = True
            await asyncio.sleep(AGAIN)
            return Turned([], fault="later")
        except Exception as error:
            log.error("A batch of the queue cannot be settled: %r", error, destination=self._name)
            await self._alone(came)
            return Turned([], fault="never")
        self.stuck = False
        self._settled(came, settled)
        return Turned(rows, hastened)

    async def leave(self, learnt: tuple[int, int, float | None, str] | None) -> None:
        """Settle, give back what was not tried, and the destination with what was `learnt` when it is leased."""
        parts = self._parts
        for tries in range(LEAVES):
            came = self._came
            kept = {attempt.row.id for attempt, _ in came}
            untried = [row_id for row_id in self._stock.rows if row_id not in kept]
            try:
                settled = await parts.store.write(
                    leave,
                    self._id,
                    parts.holder,
                    came,
                    parts.policy(),
                    self._names(came),
                    parts.clock(),
                    untried,
                    learnt,
                )
            except Exception as error:
                log.warning("A destination is not given back: %r", error, destination=self._name)
                if not isinstance(error, Temporary) and came:
                    self._came = []
                    await self._alone(came)
                if tries < LEAVES - 1:
                    await asyncio.sleep(AGAIN)
            else:
                self._settled(came, settled)
                break
        self._came = []

    def _names(self, came: Sequence[Judged]) -> list[str]:
        """For the reports that may have to be made, also where an operator wishes them."""
        return [
            self._parts.ids() for attempt, verdict in came if verdict.report or attempt.outcome.result != "delivered"
        ]

    async def _alone(self, came: Sequence[Judged]) -> None:
        """One of them is what the store cannot take: each for itself; one that was delivered at least goes."""
        parts = self._parts
        for one in came:
            row_id = one[0].row.id
            try:
                settled = await parts.store.write(
                    settle, [one], parts.holder, parts.policy(), [parts.ids()], parts.clock()
                )
                self._settled([one], settled)
            except Temporary:
                self._came.append(one)
            except Exception as error:
                parts.counters.add(Field.ERRORS)
                log.error("A row of the queue cannot be settled: %r", error, queue_id=row_id, destination=self._name)
                self._stock.forget(row_id)  # the lease brings it back
                if one[0].outcome.result == "delivered":
                    with suppress(StoreError):
                        await parts.store.write(queue_settle.remove, [row_id])

    def _settled(self, came: Sequence[Judged], settled: Settled) -> None:
        for attempt, _ in came:
            self._stock.forget(attempt.row.id)
        journal.note(self._parts.counters, came, settled)


def _storable(outcome: Outcome) -> Outcome:
    """With the words of the server in one line that any store takes."""
    reply = outcome.reply
    text, host = plain(reply.text), plain(reply.host)
    if (text, host) == (reply.text, reply.host):
        return outcome
    return structs.replace(outcome, reply=structs.replace(reply, text=text, host=host))
