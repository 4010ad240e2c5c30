"""A connection to a destination and what it carries: one parcel after the other, until there is none for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from msgspec import structs

from pillarbox.access.ledger import Field

from ..alarm import Alarm
from ..parcel import Hop, HopDown, Lane, Outcome, Reply, Result
from .batch import Load
from .in_hand import still_ours
from .pace import feeling
from .portion import Place
from .slots import Slot

if TYPE_CHECKING:
    from .run import Run

log = structlog.get_logger()

IDLE = 5.0  # seconds that a connection waits for more
SLOW_AFTER = 20.0  # seconds of one step after which a destination counts as slow
CLOSING = 10.0  # seconds for the goodbye
_CLOSED_ON_US = frozenset({"LOST", "MAIL", "RCPT"})


class LaneRunner:
    """`connected`: it has a connection that carried something."""

    def __init__(self, run: Run, slot: Slot, place: Place) -> None:
        self._run = run
        self._slot = slot
        self._place = place
        self._over = False
        self._lane: Lane | None = None
        self._hop: Hop | None = None  # where it leads, since it has begun to connect
        self._carried = 0
        self._load: Load | None = None  # what it is at
        self._recalled = False  # ... until an order broke that off
        self._again: Load | None = None  # was given to a connection that had closed meanwhile
        self._task: asyncio.Task[None] | None = None
        self._called: asyncio.Future[None] | None = None  # while it waits for a parcel
        self._patience = Alarm(self.call)  # with waiting for one
        self._watch = Alarm(slot.too_long)  # over what its server is asked

    @property
    def connected(self) -> bool:
        return self._lane is not None and self._carried > 0 and not self.astray

    @property
    def astray(self) -> bool:
        """The route has changed: it ends with the message it is at, and says nothing of the destination."""
        return self._hop is not None and self._hop != self._run.hop

    def start(self) -> None:
        self._task = self._run.parts.loop.create_task(self._work(), name=f"lane {self._run.name}")
        self._task.add_done_callback(self._closed)

    def call(self) -> None:
        """There may be a parcel, or no use in waiting for one."""
        if self._called is not None and not self._called.done():
            self._called.set_result(None)

    def cut(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def recall(self, ids: Collection[int]) -> None:
        """These rows are not to be sent any more: if they are all that it is at, and the other server cannot have taken
        it yet, the connection ends."""
        load = self._load
        if load is None or self._recalled or not all(row.id in ids for row in load.rows):
            return
        if self._lane is None or not self._lane.begun:
            self._recalled = True
            self.cut()

    async def ended(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        try:
            while (load := await self._next()) is not None:
                self._load = load
                if not await self._ready(load):
                    return
                self._load = await still_ours(self._run, load)
                if self._load is not None:
                    await self._carry(self._load)
                self._load = None
        except asyncio.CancelledError:
            if self._recalled and self._load is not None:
                self._run.put_down(self._load.rows)
            # What else was in transfer is given back, or comes back by its lease.
        except Exception:
            self._run.parts.counters.add(Field.ERRORS)
            log.exception("A lane failed", destination=self._run.name)
        finally:
            self._end()
            await self._close()

    def _end(self) -> None:
        """It carries nothing more."""
        if self._over:
            return
        self._over = True
        self._patience.end()
        self._watch.end()
        self._place.close()
        self._slot.give()
        self._run.lanes.ended(self)

    def _closed(self, task: asyncio.Task[None]) -> None:
        """It has no connection any more, or was interrupted before it began."""
        self._end()
        self._place.give()
        self._run.poke()

    async def _next(self) -> Load | None:
        """The next parcel; waits a little for one while the connection is good."""
        again, self._again = self._again, None
        if again is not None:
            return again
        run = self._run
        load = run.next_load()
        if load is not None or self._lane is None or not self._lane.usable:
            return load
        loop = self._run.parts.loop
        until = loop.time() + IDLE
        while load is None and self._lane.usable and run.worth_waiting and loop.time() < until:
            await self._wait(until)
            load = run.next_load()
        return load

    async def _wait(self, until: float) -> None:
        """To be called."""
        self._called = self._run.parts.loop.create_future()
        self._patience.set(until)
        idle = self._run.stock.idle
        idle.append(self)
        try:
            await self._called
        finally:
            self._patience.clear()
            idle.remove(self)

    async def _ready(self, load: Load) -> bool:
        """Have a connection; False when there is none to be had, and the load was answered for or put back."""
        if self._lane is not None and self._lane.usable and not self.astray:
            return True
        await self._close()
        run, counters = self._run, self._run.parts.counters
        began = run.parts.clock()
        counters.add(Field.OUTGOING_CONNECTIONS)
        self._watch.set(self._run.parts.loop.time() + SLOW_AFTER)
        try:
            self._hop = run.hop
            self._lane = await run.parts.carrier.open(self._hop)
            self._carried = 0
            return True
        except HopDown as down:
            counters.add(Field.OUTGOING_FAILURES)
            self._refused(load, down, began)
        except Exception as error:
            counters.add(Field.ERRORS)
            log.exception("A connection failed by our own fault", destination=run.name)
            reply = Reply("PROTOCOL", 451, "4.3.0", f"Internal error: {type(error).__name__}")
            self._answer(load, "deferred", reply, began)
            run.trouble(reply)
        finally:
            self._watch.clear()
        self._load = None
        return False

    def _refused(self, load: Load, down: HopDown, began: float) -> None:
        run = self._run
        if self.astray:
            run.put_back(load)
        elif not run.leased and not down.permanent:  # who has the lease may be connected
            run.put_back(load)
            run.trouble(down.reply)
        elif down.permanent:
            self._answer(load, "failed", down.reply, began)
        elif others := run.lanes.talking(self):
            # It serves us in other lanes: one too many, which is not this message's fault.
            run.pace.refused_one_more(others)
            run.put_back(load)
        else:
            self._answer(load, "deferred", down.reply, began)
            run.trouble(down.reply)

    async def _carry(self, load: Load) -> None:
        run, lane = self._run, self._lane
        assert lane is not None
        parts = run.parts
        parcel, began = load.parcel, parts.clock()
        mail_from = parcel.sender
        if load.forwarded:
            mail_from = await parts.senders(parcel.sender, load.rows[0].via)
        self._watch.set(self._run.parts.loop.time() + SLOW_AFTER)
        try:
            outcomes = await lane.send(parcel if not load.forwarded else structs.replace(parcel, sender=mail_from))
        except Exception as error:
            parts.counters.add(Field.ERRORS)
            log.exception(
                "A message was not sent by our own fault", destination=run.name, message_id=parcel.message_key
            )
            reply = Reply("PROTOCOL", 451, "4.3.0", f"Internal error: {type(error).__name__}")
            outcomes = [Outcome(row.id, "deferred", reply) for row in load.rows]
        finally:
            self._watch.clear()
        if self._carried and not lane.usable and _closed_on_us(outcomes):
            # A server that ends a connection after so many messages, or for idleness, refuses nobody.
            self._again = load
            self._carried = 0
            return
        self._carried += 1
        if parts.clock() - began < SLOW_AFTER / 4:
            parts.slots.forget(run.name)
        feels = "" if self.astray else feeling(outcomes)
        if not feels:
            pass
        elif feels == "good":
            run.well()
        elif feels == "bad":
            run.trouble(outcomes[0].reply)
        else:
            run.talked()
        run.came(load, outcomes, began, mail_from, tried=True)

    def _answer(self, load: Load, result: Result, reply: Reply, began: float) -> None:
        """The hop's answer is that of each recipient."""
        outcomes = [Outcome(row.id, result, reply) for row in load.rows]
        self._run.came(load, outcomes, began, load.parcel.sender, tried=True)

    async def _close(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSING):
                    await lane.close()


def _closed_on_us(outcomes: list[Outcome]) -> bool:
    return all(
        outcome.result == "deferred"
        and outcome.reply.stage in _CLOSED_ON_US
        and (outcome.reply.stage == "LOST" or outcome.reply.code == 421)
        for outcome in outcomes
    )
