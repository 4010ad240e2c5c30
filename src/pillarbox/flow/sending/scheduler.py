"""The scheduler of a worker's queue: it leases destinations that have something due and runs them.

It looks when a commit says that something is due, when the next row is, and at every flush interval. However many
destinations are due, a worker leases only as many as it has slots for; the others are left to its siblings, or to
later. After a long outage this keeps a herd from starting at once, together with the jitter of each destination.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from contextlib import suppress

import structlog

from pillarbox.access.ledger import Field
from pillarbox.store import DIRECTORY, QUEUE, StoreError, Touched, Tx, queue_claim, queue_upkeep, queue_wishes
from pillarbox.store.errors import Away, Temporary
from pillarbox.store.records import Destination

from ..destination import adopt
from ..owner import alive
from ..parcel import Hop
from . import hops
from .handover import Handover
from .parts import LEASE, RENEW, Parts
from .policy import SLOW_SHARE
from .run import Run

log = structlog.get_logger()

ADOPTED = 200  # rows routed in one transaction
AT_ONCE = 16  # destinations leased in one transaction
TURN = 0.005  # seconds between two of them, so that siblings get their share
DEAD_EVERY = 60.0  # seconds between two looks for holders that have died
RENEWED = 1000  # rows whose lease is prolonged in one transaction
PAUSE = 1.0  # seconds after a failure of the store
LAST = 2.0  # seconds, at least, that a stop waits for the store
RECALL = 1.0  # seconds between two looks for orders about what is in hand
NO_ROOM = 30  # seconds, at least, that a slow destination waits when all slow lanes are taken


class Scheduler:
    """`start` on the loop, `stop` before the store is closed."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._runs: dict[int, Run] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._next: dict[int, Run] = {}  # to begin when the one before it has ended
        self.handover = Handover(parts, self._runs, self._join)
        self._looking: asyncio.Task[None] | None = None
        self._helpers: list[asyncio.Task[None]] = []
        self._poke = asyncio.Event()
        self._stopping = False
        self._changed = False  # routes or settings may have
        self._ordered = False  # something in the queue has, which may be an order about what is in hand
        self._recall_from = 0.0  # loop time

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._parts.store.on_commit(self._committed)
        self._parts.slots.freed = self._freed
        self._looking = loop.create_task(self._look())
        self._helpers = [loop.create_task(self._free_dead()), loop.create_task(self._renew())]

    @property
    def busy(self) -> bool:
        """Whether a destination is in hand."""
        return bool(self._runs)

    def leave(self) -> None:
        """Begin nothing more; messages in transfer go on to their end, all else is given back."""
        self._stopping = True
        self._poke.set()
        for run in tuple(self._runs.values()):
            run.leave()

    async def stop(self, patience: float) -> int:
        """`leave`, and after `patience` seconds interrupt what is still in transfer; how many destinations that were.

        It may be cancelled, and called again with less patience.
        """
        self.leave()
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=max(patience, LAST))  # what it leases just now is given back
        await self._wait_for_runs(patience)
        left = len(self._runs)
        for run in tuple(self._runs.values()):
            run.cut()
        await self._wait_for_runs(None)
        await self.handover.settled()
        for helper in self._helpers:
            helper.cancel()
        self._count()
        return left

    async def _wait_for_runs(self, patience: float | None) -> None:
        if self._tasks and patience != 0:
            await asyncio.wait(tuple(self._tasks.values()), timeout=patience)

    def _committed(self, touched: Collection[Touched]) -> None:
        if DIRECTORY in touched:
            self._changed = True
            self._poke.set()
        if QUEUE in touched:
            self._ordered = True
            self._poke.set()
            for run in self._runs.values():
                run.wake()

    def _freed(self) -> None:
        """A slot came free: for those who have rows, then for new destinations."""
        for run in self._runs.values():
            run.poke()
        self._poke.set()

    async def _look(self) -> None:
        """Lease what is due, again and again."""
        parts = self._parts
        while not self._stopping:
            self._poke.clear()
            pause = parts.policy().flush_interval
            try:
                if self._changed:
                    await self._review()
                due = await parts.store.read(queue_claim.next_due)
                if due is not None and due <= parts.clock():
                    more = await self._adopt() if due == 0 else False
                    more = await self._lease() or more
                    pause = TURN if more else pause
                elif due is not None:
                    pause = min(pause, due - parts.clock())
                pause = min(pause, await self._recall())
            except Temporary as error:
                if not isinstance(error, Away):
                    log.warning("The queue cannot be looked at: %s", error)
                pause = PAUSE
            except Exception:
                parts.counters.add(Field.ERRORS)
                log.exception("Looking at the queue failed")
                pause = PAUSE
            self._count()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(TURN, pause)):
                    await self._poke.wait()

    async def _review(self) -> None:
        """What is in hand goes by the routes of now: a destination that is never idle would keep its hop."""
        self._changed = False
        for run in tuple(self._runs.values()):
            try:
                found = await self._parts.store.read(hops.find, run.name)
            except StoreError:
                self._changed = True
                raise
            if found.hop is None:
                run.leave()
            else:
                run.follow(found.hop, found.concurrency)

    async def _recall(self) -> float:
        """Put down what is not to be sent any more, by an operator's order; seconds until it is to be looked for
        again."""
        now = self._parts.loop.time()
        if not self._ordered or not self._runs:
            return math.inf
        if now < self._recall_from:
            return self._recall_from - now
        self._recall_from = now + RECALL
        called = set(await self._parts.store.read(queue_wishes.called, self._parts.holder))
        self._ordered = bool(called)  # one may just be on its way into a hand
        if called:
            for run in tuple(self._runs.values()):
                run.recall(called)
        return RECALL if called else math.inf

    async def _adopt(self) -> bool:
        """Route rows that have no destination; whether there may be more."""
        return await self._parts.store.write(adopt, ADOPTED) >= ADOPTED

    async def _lease(self) -> bool:
        """Lease destinations for the slots that are free, and run them; whether it should look again at once."""
        slots = self._parts.slots
        starting = sum(run.starting for run in self._runs.values())
        room = min(AT_ONCE, slots.free - starting)
        if room <= 0:
            for run in self._runs.values():
                run.yield_slots()
            return False
        leased = await self._parts.store.write(_lease, self._parts.holder, room)
        for destination, found in leased:
            if self._stopping:
                await self._parts.store.write(_put_off, destination, self._parts.holder, destination.blocked_until)
            elif found.hop is None:
                await self._parts.store.write(_reroute, destination, self._parts.holder)
            elif slots.is_slow(destination.name) and slots.slow >= slots.limit * SLOW_SHARE:
                until = int(self._parts.clock() + NO_ROOM * (1 + self._parts.chance()))
                await self._parts.store.write(_put_off, destination, self._parts.holder, until)
            else:
                self._have(destination, found.hop, found.concurrency)
        return len(leased) == room

    def _have(self, destination: Destination, hop: Hop, most: int) -> None:
        """The lease is ours. One that we had, and which ran out, goes on."""
        run = self._runs.get(destination.id)
        if run is None:
            self._run(Run(self._parts, destination, hop, most))
        elif not run.take_lease(destination, hop, most):
            self._next[run.id] = Run(self._parts, destination, hop, most)

    def _join(self, run: Run) -> None:
        """Begin a run without a lease."""
        if not self._stopping and run.id not in self._runs:
            self._run(run)

    def _run(self, run: Run) -> None:
        self._runs[run.id] = run
        task = asyncio.get_running_loop().create_task(run.work(), name=f"destination {run.name}")
        self._tasks[run.id] = task
        task.add_done_callback(lambda _: self._ended(run))

    def _ended(self, run: Run) -> None:
        self._runs.pop(run.id, None)
        self._tasks.pop(run.id, None)
        if run.failed:
            self.handover.avoid(run.name)
        following = self._next.pop(run.id, None)
        if following is not None:
            self._run(following)
            if self._stopping:
                following.leave()
        self._poke.set()

    async def _renew(self) -> None:
        """Prolong the leases of what is in hand."""
        while True:
            await asyncio.sleep(RENEW)
            self._changed = True  # the settings may say other bounds, and not every change of a route is heard of
            began = self._parts.clock()
            for run in tuple(self._runs.values()):
                ids, leased = list(run.stock.rows), [run.id] if run.leased else []
                try:
                    for at in range(0, max(len(ids), 1), RENEWED):
                        await self._parts.store.write(
                            queue_claim.prolong, self._parts.holder, ids[at : at + RENEWED], leased, LEASE
                        )
                except StoreError as error:
                    log.warning("A lease is not prolonged: %s", error, destination=run.name)
                else:
                    run.lease_until = began + LEASE

    async def _free_dead(self) -> None:
        """What processes that have died had is due at once."""
        while True:
            try:
                freed = await self._parts.store.write(queue_claim.free_dead, alive)
                if freed:
                    log.info("Rows and destinations of dead processes are free", count=freed)
            except Exception as error:
                log.warning("Dead holders are not looked for: %s", error)
            await asyncio.sleep(DEAD_EVERY)

    def _count(self) -> None:
        counters, slots = self._parts.counters, self._parts.slots
        counters.set(Field.OUTGOING_ACTIVE, slots.ordinary + slots.slow)
        counters.set(Field.OUTGOING_SLOW, slots.slow)
        counters.set(Field.DESTINATIONS_ACTIVE, len(self._runs))


def _lease(tx: Tx, holder: str, limit: int) -> list[tuple[Destination, hops.Found]]:
    leased = queue_claim.due_destinations(tx, holder, limit, LEASE)
    return [(destination, hops.find(tx, destination.name)) for destination in leased]


def _reroute(tx: Tx, destination: Destination, holder: str) -> None:
    queue_upkeep.unassign(tx, destination.id)
    _put_off(tx, destination, holder, None)


def _put_off(tx: Tx, destination: Destination, holder: str, until: int | None) -> None:
    queue_claim.leave(
        tx,
        destination.id,
        holder,
        failures=destination.failures,
        concurrency=destination.concurrency,
        blocked_until=until,
        last_error=destination.last_error,
    )
