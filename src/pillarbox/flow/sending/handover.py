"""The short way from who accepts a message to who sends it: past the database, though not without it.

Rows for a destination that this worker is sending to are put into the queue as its claim already, and after the commit
they go to the run with their content: nothing is claimed, read or decompressed again. They are as safe as any claim:
what a crash leaves comes back when the holder is found dead or the lease ends, and an operator can take them away.
What has to wait (there is a backlog, the destination is slow or down, a row is held) waits in the queue as ever, so
nobody is overtaken who stands in line there.

A destination is leased by one worker, but any worker of this machine may accept mail for it. Where the destination is
well, the others send what they accept themselves, by a run without a lease (`portion` says in how many lanes).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence

import structlog

from pillarbox.store import StoreError, Tx, destinations, queue_settle
from pillarbox.store.records import Delivery, Destination, Outcome, Queued, QueuedMessage, Warm

from . import hops
from .parts import LEASE, Parts
from .run import Run

log = structlog.get_logger()

FRESH = 0.005  # seconds for which it is known who takes something
LOOK_AGAIN = 2.0  # seconds until a destination that others send to is looked at again
AVOIDED = 60.0  # seconds after trouble there
_REMEMBERED = 10_000

Plans = Sequence[Delivery | Queued]


class Handover:
    """`runs` are the scheduler's; `begin` starts one more. Belongs to the loop."""

    def __init__(self, parts: Parts, runs: dict[int, Run], begin: Callable[[Run], None]) -> None:
        self._parts = parts
        self._runs = runs
        self._begin = begin
        self._warm: Warm | None = None
        self._known_until = 0.0  # loop time
        self._not_before: dict[str, float] = {}  # loop time at which a destination is looked at again
        self._working: set[asyncio.Task[None]] = set()

    def warm(self) -> Warm | None:
        """For which destinations rows are taken now; None: for none. Asked by who is about to write."""
        self._parts.company.leaves()
        now = self._parts.loop.time()
        if now >= self._known_until:
            self._known_until = now + FRESH
            taking = [run for run in self._runs.values() if run.takes]
            leased = {run.name: run.id for run in taking if run.leased}
            shared = frozenset(run.name for run in taking if not run.leased)
            self._warm = Warm(self._parts.holder, LEASE, leased, shared) if taking else None
        return self._warm

    def accepted(self, plans: Plans, outcomes: Sequence[Outcome], content: bytes | None) -> None:
        """After the commit: rows of one message that are our claim by now, and what its blob holds if that is at
        hand."""
        claimed: dict[str, list[QueuedMessage]] = {}
        for plan, outcome in zip(plans, outcomes, strict=True):
            if outcome.claimed is not None and isinstance(plan, Queued):
                claimed.setdefault(plan.destination, []).append(outcome.claimed)
            elif (
                outcome.queue_id is not None and isinstance(plan, Queued) and not plan.held and plan.not_before is None
            ):
                self._others_have(plan.destination)
        for name, rows in claimed.items():
            run = next((run for run in self._runs.values() if run.name == name), None)
            if run is None or not run.hand(rows, content):
                self._do(self._give_back([row.id for row in rows]))

    async def settled(self) -> None:
        """What was begun has ended."""
        while self._working:
            await asyncio.wait(tuple(self._working))

    def avoid(self, name: str) -> None:
        """There was trouble."""
        self._look_later(name, AVOIDED)

    def _others_have(self, name: str) -> None:
        """It was left to whoever has the destination. If that is another, the next ones may go from here."""
        if not self._parts.siblings or not name:
            return
        if self._not_before.get(name, 0.0) > self._parts.loop.time():
            return
        self._look_later(name, LOOK_AGAIN)
        if all(run.name != name for run in self._runs.values()):
            self._do(self._join(name))

    def _look_later(self, name: str, seconds: float) -> None:
        if len(self._not_before) >= _REMEMBERED:
            self._not_before.clear()
        self._not_before[name] = self._parts.loop.time() + seconds

    async def _join(self, name: str) -> None:
        parts = self._parts
        try:
            found = await parts.store.read(_joinable, name, parts.holder)
        except StoreError as error:
            log.debug("A destination cannot be looked at: %s", error, destination=name)
            return
        if found is None or found[0].id in self._runs:
            return
        destination, (hop, most) = found
        if hop is not None and parts.share(most or parts.policy().destination_connections):
            self._begin(Run(parts, destination, hop, most, leased=False))

    async def _give_back(self, ids: Collection[int]) -> None:
        try:
            await self._parts.store.write(queue_settle.give_back, self._parts.holder, list(ids))
        except StoreError as error:
            log.warning("Rows are not given back, their lease must end: %s", error, count=len(ids))

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = self._parts.loop.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)


def _joinable(tx: Tx, name: str, holder: str) -> tuple[Destination, hops.Found] | None:
    """A destination that another has, and that is well."""
    destination = destinations.named(tx, name)
    if destination is None or destination.holder in ("", holder) or destination.held_until <= tx.now:
        return None
    if destination.failures or destination.blocked_until is not None:
        return None
    return destination, hops.find(tx, name)
