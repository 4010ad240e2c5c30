"""What is accepted goes to who sends it without a detour, and is as safe as what is claimed."""

from __future__ import annotations

import asyncio
import os

from pillarbox.flow import queue_orders
from pillarbox.flow.sending.parts import HELD
from pillarbox.store import queue, queue_claim, routes
from pillarbox.store.records import QueueFilter
from world import LATER, MESSAGE, TAKEN

DEAD = f"{os.uname().nodename}:999999999:1"  # a process of this machine that is not there


async def warmed(office, **how):
    """A scheduler that has a connection to example.net, and nothing more to send there."""
    scheduler = office.start(**how)
    await office.put("first@example.net")
    await office.empty()
    await asyncio.sleep(0.5)
    return scheduler


def taken(office):
    return [to.partition("@")[0] for _, to, _ in office.world.taken]


def test_it_is_a_claim_from_the_beginning_and_brings_its_content(run):
    async def body(office):
        scheduler = await warmed(office)
        (outcome,) = await office.accept(scheduler, "a@example.net")
        assert outcome.claimed.id == outcome.queue_id
        assert await office.rows("status, claimed_by, attempts") == [("processing", "here:1:1", 0)]
        assert scheduler._parts.held.octets == len(MESSAGE)
        await office.empty(seconds=5)
        server = office.world.servers["mx example.net"]
        assert [parcel.content for parcel in server.parcels] == [None, MESSAGE]
        assert server.parcels[0].size == server.parcels[1].size
        assert len(office.world.connects) == 1
        assert scheduler._parts.held.octets == 0
        await asyncio.sleep(20)  # the run ends, and the destination is given back
        assert await office.ask("SELECT holder FROM destinations") == [("",)]

    run(body)


def test_the_row_is_what_a_claim_would_find(run):
    async def body(office):
        scheduler = await warmed(office)
        about = {
            "notify": "SUCCESS",
            "orcpt": "rfc822;x@y",
            "ret": "HDRS",
            "envid": "e",
            "body": "8BITMIME",
            "priority": 3,
        }
        (outcome,) = await office.accept(scheduler, "a@example.net", lost=True, prefix=b"Received: x\r\n", **about)
        await office.store.write(lambda tx: tx.run("UPDATE message_queue SET next_retry_at = 1"))
        (found,) = await office.store.write(queue_claim.claim_rows, [outcome.queue_id], "other", 60)
        assert found == outcome.claimed

    run(body)


def test_a_crash_between_the_commit_and_the_handover_loses_nothing(run):
    async def body(office):
        scheduler = await warmed(office, holder=DEAD)
        for number in range(5):
            await office.accept(scheduler, f"u{number}@example.net", lost=True)
        for task in [*scheduler._tasks.values(), *scheduler._helpers, scheduler._looking]:
            task.cancel()
        office.schedulers.clear()
        assert await office.rows("DISTINCT status, claimed_by", "1") == [("processing", DEAD)]
        office.start("here:2:1")
        await office.empty(seconds=70)
        assert sorted(taken(office)) == ["first", "u0", "u1", "u2", "u3", "u4"]

    run(body)


def test_a_handover_that_is_lost_comes_back_with_its_lease(run):
    async def body(office):
        scheduler = await warmed(office)
        await office.accept(scheduler, "a@example.net", lost=True)
        await asyncio.sleep(250)
        assert taken(office) == ["first"]
        await office.empty(seconds=100)
        assert taken(office) == ["first", "a"]

    run(body)


def test_what_an_operator_takes_away_while_it_waits_is_not_sent(run):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=1)
        scheduler = await warmed(office)
        office.world.servers["mx example.net"].sending = 10
        ids = [(await office.accept(scheduler, f"u{number}@example.net"))[0].queue_id for number in range(6)]
        assert await office.rows("DISTINCT status", "1") == [("processing",)]
        await office.store.write(queue.hold, QueueFilter(ids=(ids[2],)))
        await office.store.write(queue_orders.apply, "delete", QueueFilter(ids=(ids[3],)), "eve")
        await asyncio.sleep(100)
        assert taken(office) == ["first", "u0", "u1", "u4", "u5"]
        assert await office.rows() == [("held", "u2@example.net")]
        assert scheduler._parts.held.octets == 0

    run(body)


def test_the_urgent_goes_before_what_waits(run):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=1)
        scheduler = await warmed(office)
        office.world.servers["mx example.net"].sending = 0.9
        for name, priority in (("now", 0), ("a", 0), ("low", -3), ("b", 0), ("urgent", 4), ("high", 2)):
            await office.accept(scheduler, f"{name}@example.net", priority=priority)
            await asyncio.sleep(0.01)
        await office.empty(seconds=20)
        assert taken(office) == ["first", "now", "urgent", "high", "a", "b", "low"]

    run(body)


def test_nobody_who_waits_in_the_queue_is_overtaken(run):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=1, queue_batch_size=2)
        scheduler = await warmed(office)
        office.world.servers["mx example.net"].sending = 1
        for number in range(8):
            await office.put(f"old{number}@example.net")
        await asyncio.sleep(0.5)
        (outcome,) = await office.accept(scheduler, "new@example.net")
        assert outcome.claimed is None
        await office.empty(seconds=60)
        assert taken(office) == ["first", *(f"old{number}" for number in range(8)), "new"]

    run(body)


def test_what_waits_in_memory_is_bounded(run):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=1)
        scheduler = await warmed(office)
        office.world.servers["mx example.net"].sending = 3
        content = MESSAGE + b"x" * (HELD // 4) + b"\r\n"
        handed = [await office.accept(scheduler, f"u{number}@example.net", content=content) for number in range(5)]
        assert all(outcome.claimed is not None for (outcome,) in handed)
        assert 0 < scheduler._parts.held.octets <= HELD
        for number in range(200):
            handed.append(await office.accept(scheduler, f"v{number}@example.net"))
            await asyncio.sleep(0.006)
        assert sum(outcome.claimed is not None for (outcome,) in handed) < 110
        await office.empty(seconds=3000)
        assert len(office.world.taken) == 206
        parcels = office.world.servers["mx example.net"].parcels
        assert [parcel.content is None for parcel in parcels[1:6]] == [False, False, False, True, True]
        assert scheduler._parts.held.octets == 0

    run(body)


def test_what_is_not_for_now_waits_in_the_queue(run):
    async def body(office):
        scheduler = await warmed(office)
        (held,) = await office.accept(scheduler, "held@example.net", held=True)
        (later,) = await office.accept(scheduler, "later@example.net", not_before=int(office.loop.clock()) + 100)
        many = await office.accept(scheduler, *(f"u{number}@example.net" for number in range(101)))
        (elsewhere,) = await office.accept(scheduler, "a@example.org")
        assert all(outcome.claimed is None for outcome in (held, later, *many, elsewhere))
        await asyncio.sleep(30)
        assert len(office.world.taken) == 103
        assert await office.rows(order="to_address") == [("held", "held@example.net"), ("pending", "later@example.net")]

    run(body)


def test_trouble_and_greylisting_go_their_usual_way(run):
    async def body(office):
        scheduler = await warmed(office)
        server = office.world.servers["mx example.net"]
        server.rule = lambda to, tries, now: LATER if tries == 1 else TAKEN
        await office.accept(scheduler, "a@example.net")
        await asyncio.sleep(1)
        assert await office.rows("status, attempts, claimed_by") == [("retry", 1, "")]
        server.down = True
        for number in range(20):
            await office.accept(scheduler, f"u{number}@example.net")
            await asyncio.sleep(0.3)
        assert scheduler.handover.warm() is None
        (outcome,) = await office.accept(scheduler, "b@example.net")
        assert outcome.claimed is None
        server.down = False
        server.rule = lambda to, tries, now: TAKEN
        await office.empty(seconds=4 * 3600)
        assert len(office.world.taken) == 23

    run(body)


def test_stop_gives_back_what_waits(run):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=1)
        scheduler = await warmed(office)
        office.world.servers["mx example.net"].sending = 5
        for number in range(10):
            await office.accept(scheduler, f"u{number}@example.net")
        late = asyncio.create_task(office.accept(scheduler, "late@example.net"))
        scheduler.leave()
        await late
        assert await scheduler.stop(0) == 1
        office.schedulers.clear()
        assert await office.rows("DISTINCT status, claimed_by, attempts", "1") == [("pending", "", 0)]
        assert len(await office.rows()) == 11
        assert scheduler._parts.held.octets == 0
        assert await office.ask("SELECT holder FROM destinations") == [("",)]
        office.start()
        await office.empty(seconds=200)
        assert taken(office)[1:] == [*(f"u{number}" for number in range(10)), "late"]

    run(body)


async def joined(office):
    """Two workers; the first has the destination, the second sends what it accepts itself."""
    first = await warmed(office, siblings=1)
    second = office.start("here:2:1", siblings=1)
    await office.accept(second, "a@example.net")
    await office.empty(seconds=10)
    await asyncio.sleep(0.1)
    assert [run.leased for run in second._runs.values()] == [False]
    return first, second


def test_a_sibling_sends_what_it_accepts(run):
    async def body(office):
        first, second = await joined(office)
        server = office.world.servers["mx example.net"]
        server.sending = 0.5
        for number in range(200):
            await office.accept((first, second)[number % 2], f"u{number}@example.net")
            await asyncio.sleep(0.01)
            assert await office.store.read(lambda tx: tx.rows("SELECT DISTINCT claimed_by FROM message_queue"))
        await office.empty()
        assert sorted(taken(office)) == sorted(["first", "a", *(f"u{number}" for number in range(200))])
        assert 5 < server.peak <= office.settings.destination_connections
        await asyncio.sleep(30)
        assert await office.ask("SELECT holder FROM destinations") == [("",)]
        assert not second.busy

    run(body)


def test_a_sibling_leaves_trouble_to_who_has_the_destination(run):
    async def body(office):
        _, second = await joined(office)
        server = office.world.servers["mx example.net"]
        server.down = True
        for number in range(5):
            await office.accept(second, f"u{number}@example.net")
        await asyncio.sleep(3)
        assert not any(not run.leased for run in second._runs.values())
        (outcome,) = await office.accept(second, "later@example.net")
        assert outcome.claimed is None
        server.down = False
        await office.empty(seconds=2 * 3600)
        assert sorted(taken(office)) == ["a", "first", "later", "u0", "u1", "u2", "u3", "u4"]

    run(body)


def test_a_sibling_waits_behind_a_backlog_and_at_one_connection(run):
    async def body(office):
        _, second = await joined(office)
        office.world.servers["mx example.net"].sending = 1
        for number in range(400):
            await office.put(f"old{number}@example.net")
        (outcome,) = await office.accept(second, "new@example.net")
        assert outcome.claimed is None
        await office.empty()
        await office.stop()
        office.settings = office.settings.replace(destination_connections=1)
        await warmed(office, siblings=1)
        second = office.start("here:2:1", siblings=1)
        await office.accept(second, "a@example.net")
        await asyncio.sleep(3)
        assert not second.busy

    run(body)


def test_a_sibling_takes_the_lease_while_it_sends(run):
    async def body(office):
        first, second = await joined(office)
        server = office.world.servers["mx example.net"]
        server.rule = lambda to, tries, now: LATER if to.startswith("grey") and tries == 1 else TAKEN
        await office.accept(first, "grey@example.net")
        await asyncio.sleep(1)
        await first.stop(5)
        office.schedulers.remove(first)
        for number in range(400):  # it never rests, until the other one's message is due again
            await office.accept(second, f"u{number}@example.net")
            await asyncio.sleep(1)
        assert "grey" in taken(office)
        assert [run.leased for run in second._runs.values()] == [True]
        await office.empty(seconds=10)

    run(body)


def test_a_route_that_changes_counts_for_what_is_accepted_from_then_on(run):
    async def body(office):
        store = office.store
        route = await store.write(routes.create_route, "hub", "smarthost", host="old.example")
        await store.write(routes.add_rule, "recipient", "*", "hub")
        scheduler, hosts = office.start(), []
        opening = office.world.open

        async def opened(hop):
            hosts.append(hop.host)
            return await opening(hop)

        office.world.open = opened
        for number in range(20):
            await office.accept(scheduler, f"u{number}@example.net", to=f"route {route.id}")
            await asyncio.sleep(0.5)
            if number == 10:
                await store.write(routes.set_route, "hub", host="new.example")
        await office.empty(seconds=20)
        assert hosts == ["old.example", "new.example"]
        assert len(office.world.taken) == 20

    run(body)
