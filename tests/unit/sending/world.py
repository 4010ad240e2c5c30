"""A world of next hops without a network, and a queue with its scheduler in front of it."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import asynccontextmanager

from virtual_time import Watched

from pillarbox.access.ledger import Ledger
from pillarbox.config import Settings
from pillarbox.flow.message_id import MessageIds
from pillarbox.flow.parcel import HopDown, Outcome, Reply
from pillarbox.flow.sending.parts import Parts
from pillarbox.flow.sending.policy import policy
from pillarbox.flow.sending.scheduler import Scheduler
from pillarbox.flow.sending.slots import Slots
from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, delivery, open_store
from pillarbox.store.records import NewMessage, Queued

TAKEN = Reply("END", 250, "2.0.0", "queued", "mx.test", "192.0.2.1:25", "TLS 1.3")
LATER = Reply("RCPT", 450, "4.2.0", "greylisted", "mx.test", "192.0.2.1:25")
NEVER = Reply("RCPT", 550, "5.1.1", "no such user", "mx.test", "192.0.2.1:25")
REFUSED = Reply("CONNECT", 421, "4.4.1", "connection refused", "mx.test", "192.0.2.1:25")
NO_DOMAIN = Reply("DNS", 550, "5.1.2", "no such domain")
MESSAGE = b"From: ada@example.com\r\nSubject: greetings\r\n\r\nHello.\r\n"


class Server:
    """What a next hop does. `rule(recipient, tries, now)` gives the reply to a recipient."""

    def __init__(self):
        self.down = False
        self.gone = False  # for good
        self.connecting = 0.1  # seconds
        self.sending = 0.1
        self.asking = 0.0  # before the content
        self.most = 10_000  # connections at once
        self.per_connection = 10_000  # messages
        self.rule = lambda recipient, tries, now: TAKEN
        self.dsn = False
        self.in_time = False  # DELIVERBY
        self.open = 0
        self.peak = 0
        self.parcels = []


class World:
    """Satisfies `Carrier`. Servers by the name of the hop."""

    def __init__(self, loop):
        self.loop = loop
        self.servers = defaultdict(Server)
        self.connects = []  # (time, hop's name)
        self.taken = []  # (time, recipient, message key)
        self.tries = defaultdict(int)

    async def open(self, hop):
        server = self.servers[hop.name]
        self.connects.append((self.loop.now, hop.name))
        await asyncio.sleep(server.connecting)
        if server.gone:
            raise HopDown(NO_DOMAIN, permanent=True)
        if server.down or server.open >= server.most:
            raise HopDown(REFUSED)
        server.open += 1
        server.peak = max(server.peak, server.open)
        return FakeLane(self, server)

    def times(self, name=None):
        return [at for at, hop in self.connects if name in (None, hop)]


class FakeLane:
    def __init__(self, world, server):
        self.world, self.server = world, server
        self.usable = True
        self.begun = False
        self.carried = 0

    async def send(self, parcel):
        world, server = self.world, self.server
        self.begun = False
        if server.asking:
            await asyncio.sleep(server.asking)
        self.begun = True
        assert self.usable
        self.carried += 1
        if server.down or self.carried > server.per_connection:
            self.usable = False
            lost = Reply("MAIL", 421, "4.4.2", "closing", "mx.test")
            return [Outcome(recipient.queue_id, "deferred", lost) for recipient in parcel.recipients]
        await asyncio.sleep(server.sending)
        server.parcels.append(parcel)
        outcomes = []
        for recipient in parcel.recipients:
            world.tries[recipient.address] += 1
            reply = server.rule(recipient.address, world.tries[recipient.address], world.loop.now)
            result = {2: "delivered", 4: "deferred", 5: "failed"}[reply.code // 100]
            if result == "delivered":
                world.taken.append((world.loop.now, recipient.address, parcel.message_key))
            outcomes.append(Outcome(recipient.queue_id, result, reply, dsn=server.dsn, in_time=server.in_time))
        return outcomes

    async def close(self):
        self.usable = False
        self.server.open -= 1


class Office:
    """A store, a world, and a scheduler that is started by `start`."""

    def __init__(self, loop, store, world, settings):
        self.loop, self.store, self.world, self.settings = loop, store, world, settings
        self.ledger = Ledger(4)
        self.ids = MessageIds(1, loop.clock)
        self.schedulers = []

    async def no_rewriting(self, sender, via):
        return sender

    def start(self, holder="here:1:1", senders=None, carrier=None, store=None, siblings=0):
        slots = Slots(lambda: policy(self.settings).connections, self.loop.clock)
        parts = Parts(
            store=store or self.store,
            carrier=carrier or self.world,
            policy=lambda: policy(self.settings),
            holder=holder,
            counters=self.ledger.attach(1 + len(self.schedulers) % 3),
            ids=self.ids,
            senders=senders or self.no_rewriting,
            slots=slots,
            clock=self.loop.clock,
            chance=random.Random(7 + len(self.schedulers)).random,
            siblings=siblings,
        )
        scheduler = Scheduler(parts)
        scheduler.start()
        self.schedulers.append(scheduler)
        return scheduler

    async def stop(self, patience=10.0):
        for scheduler in self.schedulers:
            await scheduler.stop(patience)
        self.schedulers.clear()

    async def accept(self, scheduler, *recipients, content=MESSAGE, lost=False, to="", **columns):
        """One message that the worker of this scheduler accepts; the outcomes. `lost`: nobody hears of the commit.

        `to`: the name of its destination, unless it is the MX.
        """
        plans = [
            Queued(
                "ada@example.org",
                recipient,
                destination=to or f"mx {recipient.rpartition('@')[2]}",
                message_key=self.ids(),
                **columns,
            )
            for recipient in recipients
        ]
        message = NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))
        outcomes = await self.store.write(delivery.deliver, message, plans, scheduler.handover.warm())
        if not lost:
            scheduler.handover.accepted(plans, outcomes, content)
        return outcomes

    async def put(self, *recipients, sender="ada@example.org", content=MESSAGE, key=None, to="", **columns):
        """One message; the ids of its rows. `to` as in `accept`."""
        key = key or self.ids()
        plans = [
            Queued(sender, one, destination=to or f"mx {one.rpartition('@')[2]}", message_key=key, **columns)
            for one in recipients
        ]
        message = NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))
        outcomes = await self.store.write(delivery.deliver, message, plans)
        return [outcome.queue_id for outcome in outcomes]

    async def fill(self, recipients, sender="ada@example.org"):
        """Messages to (recipient, priority), many in one commit."""
        message = NewMessage(packed=blobs.pack(MESSAGE), blob_id=None, analysis=analyse(MESSAGE))
        plans = [
            Queued(sender, to, destination=f"mx {to.rpartition('@')[2]}", message_key=self.ids(), priority=priority)
            for to, priority in recipients
        ]
        await self.store.write(delivery.deliver, message, plans)

    async def rows(self, columns="status, to_address", order="id"):
        return await self.store.scan(lambda tx: tx.rows(f"SELECT {columns} FROM message_queue ORDER BY {order}"))

    async def ask(self, sql, *params):
        return await self.store.scan(lambda tx: tx.rows(sql, params))

    async def until(self, what, seconds=3600.0, step=0.25):
        """Until `what()` holds, in virtual time."""
        end = self.loop.now + seconds
        while not (await what() if asyncio.iscoroutinefunction(what) else what()):
            assert self.loop.now < end, "it did not happen in time"
            await asyncio.sleep(step)

    async def empty(self, seconds=3600.0):
        async def nothing():
            return not await self.rows()

        await self.until(nothing, seconds, max(0.25, seconds / 2000))


@asynccontextmanager
async def office(loop, place, **settings):
    store = await open_store(place, clock=loop.clock)
    watched = Watched(store, loop)
    chosen = Settings.of("production", hostname="mail.example.com", **settings)
    one = Office(loop, watched, World(loop), chosen)
    try:
        yield one
        await one.stop()
        problems = await store.check()
    finally:
        await one.stop(0)
        await store.close()
    assert problems == []
