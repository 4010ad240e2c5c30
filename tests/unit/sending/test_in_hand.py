"""What happens to rows and runs in hand while somebody else changes the queue, a route or the lease."""

from __future__ import annotations

import asyncio
import os

import pytest

from pillarbox.flow.sending import scheduler as scheduling
from pillarbox.flow.sending.turn import leave
from pillarbox.store import queue, queue_claim, routes
from pillarbox.store.records import QueueFilter
from world import LATER, NEVER, TAKEN


def taken(office):
    return [to.partition("@")[0] for _, to, _ in office.world.taken]


def test_what_is_held_and_released_while_it_is_on_its_way_goes_once(run):
    async def body(office):
        scheduler = office.start()
        office.world.servers["mx example.net"].sending = 5
        for number in range(4):
            await office.put(f"u{number}@example.net")
        await asyncio.sleep(1)  # two on their way, two wait
        await office.store.write(queue.hold, QueueFilter())
        await office.store.write(queue.release, QueueFilter())
        await office.empty(seconds=60)
        assert sorted(taken(office)) == ["u0", "u1", "u2", "u3"]
        assert scheduler._parts.held.octets == 0

    run(body)


async def in_transfer(office):
    """The ids of a message to a and b that is being sent for half a minute; b's part is put off at first."""
    office.start()
    server = office.world.servers["mx example.net"]
    server.sending, server.rule = 30, lambda to, tries, now: LATER if to.startswith("b") and tries == 1 else TAKEN
    ids = await office.put("a@example.net", "b@example.net")
    await asyncio.sleep(1)
    return ids


def test_what_one_sends_while_it_is_held_and_released_no_other_claims(run):
    async def body(office):
        ids = await in_transfer(office)
        await office.store.write(queue.hold, QueueFilter())
        await office.store.write(queue.release, QueueFilter())
        assert await office.store.write(queue_claim.claim_rows, ids, "there:1:1", 60) == []
        await asyncio.sleep(35)
        assert await office.rows("status, attempts, claimed_by") == [("retry", 1, "")]
        await office.empty(seconds=3600)
        assert taken(office) == ["a", "b"]

    run(body)


def test_what_is_held_while_one_sends_it_is_in_nobodys_hand_once_that_is_over(run):
    async def body(office):
        office.start()
        server = office.world.servers["mx example.net"]
        server.sending, server.rule = 30, lambda to, tries, now: LATER if tries == 1 else TAKEN
        await office.put("a@example.net")
        await asyncio.sleep(1)
        await office.store.write(queue.hold, QueueFilter())
        await asyncio.sleep(60)
        assert await office.rows("status, claimed_by") == [("held", "")]
        await office.store.write(queue.release, QueueFilter())
        await office.empty(seconds=60)
        assert taken(office) == ["a"]

    run(body)


def by_hand(office, sql):
    """As the runbook does it, with `sqlite3` or `psql`."""
    return office.store.write(lambda tx: tx.run(sql))


HOLD = "UPDATE message_queue SET status = 'held'"
BURY = "UPDATE message_queue SET status = 'failed'"
FREE = "UPDATE message_queue SET status = 'pending', next_retry_at = 1"


@pytest.mark.parametrize("rest", [HOLD, BURY])
@pytest.mark.parametrize("back", [FREE, "release"])
def test_what_rests_and_waits_again_by_hand_while_it_is_sent_goes_once(run, rest, back):
    async def body(office):
        ids = await in_transfer(office)
        await by_hand(office, rest)
        assert await office.rows("DISTINCT status, next_retry_at, claimed_by", "1") == [
            ("held" if rest is HOLD else "failed", None, "here:1:1")
        ]
        if back is FREE:
            await by_hand(office, FREE)
        else:
            await office.store.write(queue.release if rest is HOLD else queue.retry_now, QueueFilter())
        assert await office.rows("DISTINCT status, claimed_by", "1") == [("processing", "here:1:1")]
        assert await office.store.write(queue_claim.claim_rows, ids, "there:1:1", 60) == []
        await asyncio.sleep(35)
        assert await office.rows("to_address, status, attempts, claimed_by") == [("b@example.net", "retry", 1, "")]
        await office.empty(seconds=3600)
        assert taken(office) == ["a", "b"]

    run(body)


@pytest.mark.parametrize("rest", [HOLD, BURY])
def test_what_rests_by_hand_while_it_is_sent_is_gone_or_in_nobodys_hand(run, rest):
    async def body(office):
        office.start()
        server = office.world.servers["mx example.net"]
        replies = {"a": TAKEN, "b": LATER, "c": NEVER}
        server.sending, server.rule = 30, lambda to, tries, now: replies[to[0]] if tries == 1 else TAKEN
        await office.put("a@example.net", "b@example.net", "c@example.net")
        await asyncio.sleep(1)
        await by_hand(office, rest)
        await asyncio.sleep(60)
        status = "held" if rest is HOLD else "failed"
        assert await office.rows("to_address, status, claimed_by") == [
            ("b@example.net", status, ""),
            ("c@example.net", status, ""),
        ]
        assert taken(office) == ["a"]
        await office.store.write(queue.release if rest is HOLD else queue.retry_now, QueueFilter())
        await office.empty(seconds=60)
        assert taken(office) == ["a", "b", "c"]

    run(body)


def test_what_is_held_by_hand_while_its_sender_dies_goes_after_the_release(run):
    async def body(office):
        dead = f"{os.uname().nodename}:999999999:1"
        await office.put("a@example.net")
        (destination,) = await office.store.write(queue_claim.due_destinations, dead, 1, 300)
        assert await office.store.write(queue_claim.claim, destination.id, dead, 9, 300)
        await by_hand(office, HOLD)
        await by_hand(office, FREE)
        office.start()
        await office.empty(seconds=400)
        assert taken(office) == ["a"]

    run(body)


def test_the_sender_is_told_of_a_success_that_was_held(run):
    async def body(office):
        office.start()
        office.world.servers["mx example.net"].sending = 30
        await office.put("a@example.net", notify="SUCCESS")
        await asyncio.sleep(1)
        await by_hand(office, HOLD)
        await asyncio.sleep(35)
        assert taken(office)[0] == "a"
        assert [to for _, to, _ in office.world.taken[1:]] == ["ada@example.org"]  # the report
        assert await office.rows() == []

    run(body)


def test_what_is_held_and_released_while_it_waits_for_long_goes_once(run):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=1)
        scheduler = office.start()
        await office.put("first@example.net")
        await office.empty()
        await asyncio.sleep(0.5)
        office.world.servers["mx example.net"].sending = 3
        for number in range(3):
            await office.accept(scheduler, f"u{number}@example.net")
        await office.store.write(queue.hold, QueueFilter())
        await asyncio.sleep(2)
        await office.store.write(queue.release, QueueFilter())
        await office.empty(seconds=60)
        assert sorted(taken(office)) == ["first", "u0", "u1", "u2"]
        assert scheduler._parts.held.octets == 0

    run(body)


def test_a_route_that_changes_is_followed_at_once_where_the_old_hop_stalls(run):
    async def body(office):
        route = await office.store.write(routes.create_route, "hub", "smarthost", host="old.test")
        name, hosts, opening = f"route {route.id}", [], office.world.open
        server = office.world.servers[name]

        async def opened(hop):
            hosts.append(hop.host)
            return await opening(hop)

        office.world.open = opened
        scheduler = office.start()
        server.sending = 600
        for number in range(4):
            await office.put(f"u{number}@example.net", to=name)
        await asyncio.sleep(2)
        assert hosts == ["old.test"] * 2
        server.sending = 0.1
        await office.store.write(routes.set_route, "hub", host="new.test", concurrency=1)
        await office.until(lambda: len(taken(office)) == 2, seconds=60)
        assert hosts[:3] == ["old.test"] * 2 + ["new.test"]
        await office.accept(scheduler, "u4@example.net", to=name)
        await office.empty()
        assert sorted(taken(office)) == ["u0", "u1", "u2", "u3", "u4"]
        assert set(hosts[2:]) == {"new.test"}

    run(body)


def test_a_route_that_is_gone_is_left(run):
    async def body(office):
        route = await office.store.write(routes.create_route, "smart", "smarthost", host="old.test")
        scheduler = office.start()
        server = office.world.servers[f"route {route.id}"]
        server.sending = 10
        for number in range(6):
            await office.put(f"u{number}@example.net", to=f"route {route.id}")
        await asyncio.sleep(2)
        await office.store.write(routes.delete_route, "smart")
        await office.empty(seconds=100)
        assert len(server.parcels) == 2
        assert len(office.world.taken) == 6
        assert all(run.name != f"route {route.id}" for run in scheduler._runs.values())

    run(body)


def test_a_lease_that_is_given_back_and_taken_again_by_one_commit_is_used(run):
    async def body(office):
        scheduler = office.start()
        await office.put("first@example.net")
        await office.empty()
        (one,) = scheduler._runs.values()
        real, given_back = office.store.write, []

        def write(fn, *args, **kw):
            """While the run gives it back somebody puts a message there; the scheduler leases it in the same commit."""
            if fn is not leave or given_back:
                return real(fn, *args, **kw)

            def together(tx):
                settled = fn(tx, *args, **kw)
                tx.run("UPDATE destinations SET due_at = ?", (tx.now,))
                given_back.append(scheduling._lease(tx, scheduler._parts.holder, 16))
                return settled

            done = real(together)
            done.add_done_callback(lambda _: [scheduler._have(at, found.hop, 0) for at, found in given_back[0]])
            return done

        office.store.write = write
        await office.until(lambda: given_back)
        assert given_back[0]
        await office.until(lambda: one not in scheduler._runs.values(), seconds=5)
        await office.put("next@example.net")
        await office.empty(seconds=20)
        assert taken(office) == ["first", "next"]

    run(body)


def test_what_a_sibling_gets_no_connection_for_goes_by_those_of_who_has_the_lease(run):
    async def body(office):
        office.world.servers["mx example.net"].most = 1
        first, second = office.start(siblings=1), office.start("here:2:1", siblings=1)
        for number in range(20):
            await office.accept((first, second)[number % 2], f"u{number}@example.net")
            await asyncio.sleep(0.5)
        await office.empty(seconds=10)
        assert sorted(taken(office)) == sorted(f"u{number}" for number in range(20))

    run(body)


def test_settings_are_followed_by_a_destination_that_never_rests(run_sqlite):
    async def body(office):
        scheduler = office.start()
        for number in range(240):
            if number == 10:
                office.settings = office.settings.replace(destination_connections=3)
            await office.accept(scheduler, f"u{number}@example.net")
            await asyncio.sleep(0.5)
        assert [run.pace.most for run in scheduler._runs.values()] == [3]
        await office.empty()
        assert len(office.world.taken) == 240

    run_sqlite(body)
