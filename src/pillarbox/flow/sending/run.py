"""One destination, as long as this worker has it: rows are claimed, sent through lanes, settled, until none is due.

A turn is one transaction: what came of the last parcels is settled and the next rows are claimed, so that a commit is
paid once for a batch. Lanes go on meanwhile; when a turn fails they get nothing more (`results`).

A run may also have no lease, when another worker has it: then it sends only what this worker accepts (`handover`), and
at the first trouble, or when it gets no lane, leaves it all to the other.

How many lanes each may have says `portion`.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Sequence

import structlog

from pillarbox.access.ledger import Field
from pillarbox.store import StoreError, queue_upkeep
from pillarbox.store.records import Destination, QueuedMessage

from ..parcel import Hop, Outcome, Reply
from .batch import Load, loads
from .bell import Bell
from .lanes import Lanes
from .pace import Pace
from .parts import GRACE, LEASE, Parts
from .portion import Portion
from .results import AGAIN, Results, Turned
from .stock import Stock
from .turn import HASTENED
from .verdict import overdue

log = structlog.get_logger()

LINGER = 10.0  # seconds without a parcel and without lanes, after which a run without a lease ends
READY = 100  # parcels that wait for lanes, beyond which what is accepted waits in the queue
SETTLE_AT = 500  # attempts that wait for a turn before lanes get nothing more
BROKEN = 60.0  # seconds that a destination rests whose rows cannot be claimed
LOOKS = 0.02  # seconds between two looks whether something is due
EARLY = 0.002  # seconds by which a timer may fire too soon: those of uvloop count in whole milliseconds
LANELESS = 5.0  # seconds that a run without a lease keeps what it has no lane for
GIVEN = 0.05  # seconds between two looks whether another worker has given a lane back
WANTED = 0.25  # seconds between two looks whether another worker lacks one
ANSWERED = 500  # rows taken at once to be told that their destination is down


class Run:
    """`done` is called when it has ended, however. Belongs to the loop it was made in."""

    def __init__(self, parts: Parts, destination: Destination, hop: Hop, most: int, *, leased: bool = True) -> None:
        """`most` lanes of all workers together; 0: as the settings say."""
        policy = parts.policy()
        self.id = destination.id
        self.name = destination.name
        self.hop = hop
        self.parts = parts
        self.leased = leased
        self.failed = False  # it has no lease, and had trouble or no lane
        self._stay_until = 0.0 if leased else parts.loop.time() + LINGER  # for what may be handed over
        self.pace = Pace(
            lanes=destination.concurrency,
            failures=destination.failures,
            most=most or policy.destination_connections,
            threshold=policy.breaker_threshold,
            timeout=policy.breaker_timeout,
        )
        self.stock = Stock(parts.held, parts.loop)
        self.portion = Portion(parts.counters)
        self._share_out(most)
        self.lanes = Lanes(self)
        self._results = Results(parts, destination.id, destination.name, self.stock)
        self.lease_until = parts.clock() + LEASE
        self.last_error = destination.last_error
        self._bell = Bell(parts.loop)
        self._dry = not leased  # nothing more was due when we looked
        self._look = False  # something may have become due since
        self._look_from = 0.0  # loop time
        self._leaving = False
        self._back = False  # the destination is back after it was left alone
        self._laneless = 0.0  # loop time since which nothing that waits could have a lane; 0: one could
        self._down: Reply | None = None  # what answers for rows that are due while it is left alone

    async def work(self) -> None:
        """Until nothing is due any more, the destination is left alone, or `leave`."""
        try:
            await self._turns()
        except Exception:
            self.parts.counters.add(Field.ERRORS)
            log.exception("Sending to a destination failed", destination=self.name)
        finally:
            await self._end()

    def wake(self) -> None:
        """Something in the queue is due."""
        if self.leased and self._dry and not self._look:
            self._look = True
            loop = self.parts.loop
            loop.call_at(max(loop.time(), self._look_from), self._bell.ring)

    def poke(self) -> None:
        """Look at the lanes: one has something to say, or slots came free."""
        self._bell.ring()

    def _share_out(self, most: int) -> int:
        """Lanes of all workers together; which part of them is ours at any time."""
        most = most or self.parts.policy().destination_connections
        share = self.parts.share(most)
        self.portion.follow(self.hop, most - share * self.parts.siblings if self.leased else share, most)
        return most

    def take_lease(self, destination: Destination, hop: Hop, most: int) -> bool:
        """The lease is ours now; False when this run is ending and cannot have it."""
        if self._leaving:
            return False
        if not self.leased:  # else it had run out: what was learnt meanwhile is newer
            self.leased, self.pace.failures = True, destination.failures
        self.lease_until = self.parts.clock() + LEASE
        self.follow(hop, most)
        self._dry = False
        self._bell.ring()
        return True

    def follow(self, hop: Hop, most: int) -> None:
        """The route says this by now: lanes to another hop end with the message they are at."""
        if hop != self.hop:
            log.info("The route has changed", destination=self.name)
        self.hop = hop
        self.pace.bound(self._share_out(most))
        self._bell.ring()

    @property
    def starting(self) -> bool:
        """It has no lane yet and will want one."""
        return not self.lanes and not self._leaving

    def leave(self) -> None:
        """Begin nothing more; lanes finish the message they are at."""
        self._leaving = True
        self.stock.call_all()
        self._bell.ring()

    def cut(self) -> None:
        """Interrupt what lanes are at."""
        self.lanes.cut()

    def yield_slots(self) -> None:
        """Others need them: lanes without work close."""
        self.stock.call_all()

    # What was just accepted.

    @property
    def sends(self) -> bool:
        """Whether lanes get parcels."""
        return not self._results.stuck and not self._leaving and self._down is None

    @property
    def takes(self) -> bool:
        """Whether rows may be put into the queue for us to be handed over, without getting ahead of others."""
        if not self._dry or (stock := self.stock).tail or not self.sends or self.pace.probing:
            return False
        if len(stock) >= READY or len(self._results) >= SETTLE_AT or self.parts.slots.is_slow(self.name):
            return False
        return self.parts.clock() < self.lease_until - GRACE

    def hand(self, rows: list[QueuedMessage], content: bytes | None) -> bool:
        """Rows of one message, our claim since this moment, with what its blob holds; False when it is too late."""
        if not self.sends:
            return False
        if not self.leased:
            self._stay_until = self.parts.loop.time() + LINGER
        for load in loads(self._begun(rows)):
            self.stock.add_by_priority(load, content)
        if self.stock.short:
            self._bell.ring()
        return True

    # What lanes ask and say.

    def next_load(self) -> Load | None:
        """The next parcel for a lane; None when there is none for now."""
        if not self.sends or len(self._results) >= SETTLE_AT:
            return None
        if self.parts.clock() > self.lease_until - GRACE:  # it may be another's by now
            return None
        if self.lanes.too_many or (load := self.stock.take()) is None:
            return None
        if len(self.stock) <= len(self.lanes) and not self._dry:
            self._bell.ring()
        return load

    @property
    def worth_waiting(self) -> bool:
        """Whether a lane without work should stay for some: not where others need its slot and nothing is due."""
        if self._leaving or self._down is not None or self.lanes.too_many:
            return False
        return not self._dry or not self.parts.slots.pressed

    def put_back(self, load: Load) -> None:
        """Nothing was tried after all; it is the first in line again."""
        self.stock.put_back(load)
        self._bell.ring()

    def put_down(self, rows: Sequence[QueuedMessage]) -> None:
        """These are not sent after all, by somebody's order. What was held, and even released again meanwhile, is in
        nobody's hand then."""
        if rows:
            self._results.untried(rows, self.hop.kind)
            self._bell.ring()

    def recall(self, ids: Collection[int]) -> None:
        """Orders were given about these rows: they are put down, also in transfer while the other server cannot have
        taken them."""
        self.put_down(self.stock.withdraw(ids))
        self.lanes.recall(ids)

    def came(self, load: Load, outcomes: Sequence[Outcome], began: float, mail_from: str, *, tried: bool) -> None:
        """What became of a parcel. `began` in epoch seconds."""
        self._results.add(load, outcomes, began, mail_from, self.hop.kind, tried=tried)
        self._bell.ring()

    def well(self) -> None:
        """The destination took a message."""
        self._is_back(self.pace.good())

    def talked(self) -> None:
        """The destination answered, and took nothing of this message."""
        self._is_back(self.pace.talked())

    def _is_back(self, back: bool) -> None:
        self.last_error = ""
        if back:
            self._back = True
            log.info("Destination is back", destination=self.name)

    def trouble(self, reply: Reply) -> None:
        """The destination would not talk to us."""
        parts = self.parts
        self.last_error = f"{reply.code} {reply.enhanced} {reply.text}"
        if not self.leased:  # who has the lease sees how bad it is
            self.failed = True
            self.leave()
            return
        was_blocked = self.pace.blocked
        self.pace.bad(parts.clock(), parts.chance())
        self.lanes.resume_at = self.parts.loop.time() + min(self.pace.failures, 5) * (0.5 + parts.chance())
        if self.pace.blocked:
            self._down = reply
            self.stock.call_all()
            if not was_blocked:
                failures = self.pace.failures
                log.warning("Destination is left alone: %s", self.last_error, destination=self.name, failures=failures)

    # Turns.

    async def _turns(self) -> None:
        while True:
            self._bell.clear()
            if self._down is not None:
                self._answer_for_it(self._down)
            await self._look_again()
            if self._leaving:
                self.stock.take_all()  # they are given back at the end
            want = self._want()
            if self._results and not want and not self._back and not self._leaving and self.lanes:
                await (await self.parts.company.wait(self._turn))
                continue
            if self._results or want or self._back:
                await self._turn()
                continue
            self.lanes.open()
            if not self.lanes and self._finished():
                return
            if self._has_no_lane():
                self.failed = True
                self.leave()
                continue
            await self._wait()

    def _finished(self) -> bool:
        if self._leaving:
            return True
        if self._dry and not self.stock and not self.stock.tail:
            return self.parts.loop.time() >= self._stay_until
        return self.parts.clock() > self.lease_until - GRACE  # what is left is another's

    def _has_no_lane(self) -> bool:
        """Whether what it has waits too long for one, and there is another who has some."""
        if self.leased or self.lanes or not self.stock:
            self._laneless = 0.0
            return False
        now = self.parts.loop.time()
        self._laneless = self._laneless or now
        return now - self._laneless >= LANELESS

    async def _wait(self) -> None:
        """Until somebody pokes. The interval catches what nobody told of."""
        pause = self.parts.policy().flush_interval
        if self.lanes.lacking:
            pause = min(pause, GIVEN)
        elif len(self.lanes) > self.portion.part:
            pause = min(pause, WANTED)
            if self.portion.over:
                self.stock.call_all()
        if self.stock and (rest := self.lanes.resume_at - self.parts.loop.time()) > 0:
            pause = min(pause, rest + 0.001)
        if not self.lanes and (rest := self._stay_until - self.parts.loop.time()) > 0:
            pause = min(pause, rest + 0.001)
        if self._results.stuck:
            pause = AGAIN
        if await self._bell.wait(pause):
            return
        self._look = self._dry
        self._results.stuck = False

    async def _look_again(self) -> None:
        """Whether something became due; not for each commit of a busy server."""
        now = self.parts.loop.time()
        if not self.leased or now < self._look_from - EARLY:
            return
        # Nobody tells that a retry is due, and what is handed over may never let us wait.
        if not self._look and not (self._dry and now >= self._look_from + self.parts.policy().flush_interval):
            return
        self._look, self._look_from = False, now + LOOKS
        try:
            if await self.parts.store.read(queue_upkeep.is_due, self.id):
                self._dry = False
        except StoreError as error:
            log.debug("The queue cannot be looked at: %s", error, destination=self.name)

    def _want(self) -> int:
        """Rows to be claimed by the next turn."""
        if self._dry or self._leaving or self._results.stuck:
            return 0
        if self.parts.clock() > self.lease_until - GRACE:
            return 0
        if self._down is not None:
            return ANSWERED
        batch = self.parts.policy().batch
        if len(self.stock) > len(self.lanes):
            return 0
        # A slow destination has no claim to memory, and one that may be down none to more than a look.
        if self.pace.probing:
            return min(batch, 2)
        return min(batch, 10) if self.parts.slots.is_slow(self.name) else batch

    def _turn(self) -> Coroutine[None, None, None]:
        """One transaction, begun at once, to be awaited all the same. When the destination is back, all that waits is
        due before anything is claimed, so that it leaves by its age."""
        back, self._back = self._back, False
        want = 0 if back else self._want()
        settling = len(self._results)
        return self._turned(self._results.turn(want, back), want, back, settling)

    async def _turned(self, turning: Coroutine[None, None, Turned], want: int, back: bool, settling: int) -> None:
        turned = await turning
        if turned.fault:
            self._back = back or self._back
            if turned.fault == "never":
                self._dry = True
                if not settling:  # claiming fails: not again at once
                    self.pace.blocked_until = self.parts.clock() + BROKEN
            return
        if back:
            self._back = turned.hastened >= HASTENED
            self._dry = self._dry and not turned.hastened
        if want:
            self._dry = len(turned.rows) < want
            self.stock.add(self._begun(turned.rows), more=not self._dry)

    def _begun(self, rows: list[QueuedMessage]) -> list[QueuedMessage]:
        """Those of what is our claim since this moment that are to be sent; the others are answered for."""
        now = int(self.parts.clock())
        good: list[QueuedMessage] = []
        for row in rows:
            if row.id in self.stock.rows:  # held and released since it was claimed: it is on its way already
                continue
            self.stock.begin(row.id)
            over = overdue(row, now)
            if row.wish:
                self.put_down([row])
            elif over is None:
                good.append(row)
            else:
                self.came(loads([row])[0], [over], now, row.sender, tried=False)
        return good

    def _answer_for_it(self, reply: Reply) -> None:
        """It is left alone: rows that are due were tried, as far as they are concerned."""
        now = self.parts.clock()
        for load in self.stock.take_all():
            outcomes = [Outcome(row.id, "deferred", reply) for row in load.rows]
            self.came(load, outcomes, now, load.parcel.sender, tried=False)

    async def _end(self) -> None:
        """Settle what came, give back what was not tried, and the destination with what was learnt."""
        pace = self.pace
        self._leaving = True
        self._bell.end()
        self.cut()
        await self.lanes.all_ended()
        self.portion.forgo()
        learnt = pace.failures, pace.lanes, pace.blocked_until, self.last_error[:500]
        await self._results.leave(learnt if self.leased else None)
        self.stock.forget_all()
