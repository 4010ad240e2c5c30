"""The scheduler with a fake world of next hops, in virtual time."""

from __future__ import annotations

import asyncio

from virtual_time import Watched

from pillarbox.access.ledger import Ledger
from pillarbox.store import queue, queue_claim, queue_settle, routes
from pillarbox.store.records import QueueFilter
from world import LATER, NEVER, TAKEN


def test_what_is_queued_is_sent_over_few_connections(run):
    async def body(office):
        office.start()
        for number in range(100):
            await office.put(f"u{number}@example.net")
        await office.empty()
        world = office.world
        assert sorted(to for _, to, _ in world.taken) == sorted(f"u{number}@example.net" for number in range(100))
        assert len(world.connects) <= 20
        events = await office.ask("SELECT kind, count(*) FROM message_events GROUP BY kind")
        assert events == [("relayed", 100)]

    run(body)


def test_recipients_of_a_message_go_in_one_transaction_however_small_the_batch(run):
    async def body(office):
        await office.put(*(f"u{number}@example.net" for number in range(130)))
        office.start()
        await office.empty()
        sizes = [len(parcel.recipients) for parcel in office.world.servers["mx example.net"].parcels]
        assert sorted(sizes, reverse=True) == [100, 30]

    run(body, queue_batch_size=10)


def test_a_connection_waits_a_little_for_more(run):
    async def body(office):
        office.start()
        for _ in range(5):
            await office.put("a@example.net")
            await office.empty()
            await asyncio.sleep(2)
        assert len(office.world.connects) == 1
        await asyncio.sleep(10)
        assert office.world.servers["mx example.net"].open == 0
        await office.put("a@example.net")
        await office.empty()
        assert len(office.world.connects) == 2

    run(body)


def test_priority_then_age(run):
    async def body(office):
        ids = []
        for number in range(30):
            priority = (3, -2, 0)[number % 3]
            ids += await office.put(f"p{priority}-{number:02}@example.net", priority=priority)
            await asyncio.sleep(1)
        office.settings = office.settings.replace(destination_connections=1)
        office.start()
        await office.empty()
        order = [to for _, to, _ in office.world.taken]
        wanted = sorted(order, key=lambda to: (-int(to[1:].rpartition("-")[0]), to))
        assert order == wanted

    run(body)


def test_two_schedulers_share_a_queue_and_nothing_goes_twice(run):
    async def body(office):
        for number in range(60):
            await office.put(*(f"u{number}@d{which}.example" for which in range(20)))
        office.start("here:1:1")
        office.start("here:2:1")
        await office.empty()
        taken = [(to, key) for _, to, key in office.world.taken]
        assert len(taken) == len(set(taken)) == 1200
        relayed = [office.ledger.value(slot, 35) for slot in (1, 2)]
        assert all(relayed), relayed

    run(body)


def test_what_a_killed_worker_had_is_sent_by_another(run):
    async def body(office):
        ids = await office.put("a@example.net", "b@example.net")
        dead = f"{__import__('os').uname().nodename}:999999999:1"
        leased = await office.store.write(queue_claim.due_destinations, dead, 10, 300)
        claimed = await office.store.write(queue_claim.claim, leased[0].id, dead, 10, 300)
        assert [row.id for row in claimed] == ids
        office.start()
        await office.empty(seconds=30)
        assert len(office.world.taken) == 2

    run(body)


def test_what_a_worker_of_another_machine_had_comes_back_with_its_lease(run):
    async def body(office):
        await office.put("a@example.net")
        leased = await office.store.write(queue_claim.due_destinations, "elsewhere:5:5", 10, 300)
        await office.store.write(queue_claim.claim, leased[0].id, "elsewhere:5:5", 10, 300)
        office.start()
        await asyncio.sleep(290)
        assert not office.world.taken
        await office.empty(seconds=30)
        assert len(office.world.taken) == 1

    run(body)


def test_a_crash_between_the_remote_250_and_the_commit_sends_twice_never_zero_times(run):
    """The first scheduler never gets its settlement into the store, as if it were killed there."""

    async def body(office):
        await office.put("a@example.net")
        office.world.servers["mx example.net"].sending = 5
        its = Watched(office.store._store, office.loop)
        first = office.start("elsewhere:1:1", store=its)
        await office.until(lambda: office.world.connects)
        its.failing = 10**9
        await office.until(lambda: office.world.taken)
        for task in [*first._tasks.values(), *first._helpers, first._looking]:
            task.cancel()
        office.schedulers.clear()
        await asyncio.sleep(1)
        assert await office.rows() == [("processing", "a@example.net")]
        office.start("here:2:1")
        await office.empty(seconds=400)
        assert len(office.world.taken) == 2

    run(body)


def test_nothing_more_is_sent_while_nothing_can_be_settled(run):
    async def body(office):
        for number in range(300):
            await office.put(f"u{number}@example.net")
        office.start()
        await office.until(lambda: len(office.world.taken) > 20)
        office.store.failing = 10**6
        await asyncio.sleep(5)
        stuck = len(office.world.taken)
        await asyncio.sleep(60)
        assert len(office.world.taken) == stuck
        office.store.failing = 0
        await office.empty()
        assert len({key for _, _, key in office.world.taken}) == len(office.world.taken) == 300

    run(body)


def test_a_long_transfer_keeps_its_lease(run):
    async def body(office):
        office.world.servers["mx example.net"].sending = 1500
        await office.put("a@example.net")
        office.start("here:1:1")
        office.start("here:2:1")
        await office.empty(seconds=2000)
        assert len(office.world.taken) == 1

    run(body)


def test_stop_lets_transfers_end_and_gives_the_rest_back(run):
    async def body(office):
        server = office.world.servers["mx example.net"]
        server.sending = 3
        for number in range(50):
            await office.put(f"u{number}@example.net")
        scheduler = office.start()
        await asyncio.sleep(1)
        assert await scheduler.stop(10) == 0
        office.schedulers.clear()
        sent = len(office.world.taken)
        assert 0 < sent < 50
        assert await office.rows("DISTINCT status, claimed_by, attempts", "1") == [("pending", "", 0)]
        assert len(await office.rows()) == 50 - sent
        assert await office.ask("SELECT holder FROM destinations") == [("",)]
        assert server.open == 0

    run(body)


def test_stop_at_any_moment_leaves_nothing_leased(run_sqlite):
    async def body(office):
        office.world.servers["mx example.net"].connecting = 0
        for number in range(40):
            await office.put(f"u{number}@example.net")
        for turns in range(60):
            scheduler = office.start()
            for _ in range(turns):
                await asyncio.sleep(0)
            await scheduler.stop(0)
            office.schedulers.clear()
            assert await office.ask("SELECT DISTINCT holder FROM destinations") == [("",)]
            assert await office.ask("SELECT count(*) FROM message_queue WHERE claimed_by <> ''") == [(0,)]
        office.start()
        await office.empty(seconds=60)
        assert {to for _, to, _ in office.world.taken} == {f"u{number}@example.net" for number in range(40)}

    run_sqlite(body)


def test_stop_interrupts_what_takes_too_long(run):
    async def body(office):
        office.world.servers["mx example.net"].sending = 100
        await office.put("a@example.net")
        scheduler = office.start()
        await asyncio.sleep(1)
        assert await scheduler.stop(5) == 1
        office.schedulers.clear()
        assert office.loop.now < 10
        assert await office.rows() == [("pending", "a@example.net")]

    run(body)


def test_an_operator_takes_rows_away_while_they_are_in_transfer(run):
    async def body(office):
        server = office.world.servers["mx example.net"]
        server.sending = 10
        server.rule = lambda to, tries, now: {"g": TAKEN, "f": NEVER, "h": LATER}[to[0]]
        gone, failing, held = await office.put("g@example.net", "f@example.net", "h@example.net", sender="a@b.example")
        office.start()
        await asyncio.sleep(2)
        await office.store.write(queue.delete, QueueFilter(ids=(failing,)))
        await office.store.write(queue.hold, QueueFilter(ids=(held, gone)))
        await asyncio.sleep(20)
        # Delivered is delivered; the others are as the operator wants them, and no report is made of them.
        assert await office.rows() == [("held", "h@example.net")]

    run(body)


def test_what_an_operator_takes_away_while_it_waits_for_its_turn_is_not_sent(run):
    async def body(office):
        office.world.servers["mx example.net"].sending = 10
        office.settings = office.settings.replace(destination_connections=1)
        ids = [(await office.put(f"u{number}@example.net"))[0] for number in range(7)]
        ids += await office.put("gone@example.net", "stays@example.net")
        office.start()
        await asyncio.sleep(2)
        assert await office.ask("SELECT count(*) FROM message_queue WHERE status = 'processing'") == [(9,)]
        await office.store.write(queue.hold, QueueFilter(ids=tuple(ids[2:5])))
        gone = f"DELETE FROM message_queue WHERE id IN ({ids[5]}, {ids[6]}, {ids[7]})"
        await office.store.write(lambda tx: tx.run(gone))
        await office.until(lambda: len(office.world.taken) == 3)
        await asyncio.sleep(60)
        assert [to for _, to, _ in office.world.taken] == ["u0@example.net", "u1@example.net", "stays@example.net"]
        assert await office.rows() == [("held", f"u{number}@example.net") for number in (2, 3, 4)]
        await office.store.write(queue.release, QueueFilter())
        await office.empty()
        assert len(office.world.taken) == 6

    run(body)


def test_rows_without_a_destination_are_routed(run):
    async def body(office):
        await office.store.write(
            lambda tx: tx.insert(
                "INSERT INTO message_queue (from_address, to_address, message_data, created_at, updated_at, "
                "next_retry_at) VALUES (?, ?, ?, ?, ?, ?)",
                ("a@b.example", "c@example.net", b"Subject: by hand\r\n\r\nx\r\n", tx.now, tx.now, tx.now),
            )
        )
        office.start()
        await office.empty(seconds=60)
        assert [to for _, to, _ in office.world.taken] == ["c@example.net"]

    run(body)


def test_routes_say_how_to_talk_to_a_hop(run):
    async def body(office):
        def route(tx):
            routes.create_route(tx, "dovecot", "lmtp", host="/run/dovecot/lmtp")
            routes.create_route(tx, "slow", "mx", ehlo_name="bulk.example.com", concurrency=1)
            routes.add_rule(tx, "recipient", "lists.example", "dovecot")
            routes.add_rule(tx, "recipient", "*", "slow")

        await office.store.write(route)
        office.start()
        hops = []

        class Watching:
            async def open(self, hop):
                hops.append(hop)
                return await office.world.open(hop)

        office.schedulers[0]._parts.carrier = Watching()
        for number in range(20):
            await office.store.write(
                lambda tx, number=number: tx.insert(
                    "INSERT INTO message_queue (from_address, to_address, message_data, created_at, updated_at, "
                    "next_retry_at) VALUES (?, ?, ?, ?, ?, ?)",
                    ("a@b.example", f"u{number}@other.example", b"Subject: x\r\n\r\n", tx.now, tx.now, tx.now),
                )
            )
        await office.put("m@lists.example")
        await office.store.write(queue_settle.give_back, "", [])
        await office.store.write(lambda tx: tx.run("UPDATE message_queue SET destination_id = NULL"))
        office.schedulers[0]._poke.set()
        await office.empty()
        by_kind = {hop.kind: hop for hop in hops}
        assert (by_kind["lmtp"].socket, by_kind["lmtp"].name) == ("/run/dovecot/lmtp", "route 1")
        assert (by_kind["mx"].domain, by_kind["mx"].ehlo) == ("other.example", "bulk.example.com")
        assert office.world.servers[by_kind["mx"].name].peak == 1

    run(body)


def test_a_destination_whose_route_is_gone_is_routed_again(run):
    async def body(office):
        await office.put("c@example.net")
        await office.store.write(lambda tx: tx.run("UPDATE destinations SET name = 'route 77'"))
        office.start()
        await office.empty(seconds=60)
        assert [name for _, name in office.world.connects] == ["mx example.net"]

    run(body)


def test_one_row_that_cannot_be_settled_does_not_keep_the_others(run_sqlite, monkeypatch):
    async def body(office):
        from pillarbox.flow.sending import settle as module

        true = module.entry

        def entry(at, key, kind, **facts):
            if facts.get("recipient") == "u3@example.net":
                raise ValueError("a bug of ours")
            return true(at, key, kind, **facts)

        monkeypatch.setattr(module, "entry", entry)
        for number in range(10):
            await office.put(f"u{number}@example.net")
        office.start()
        await office.empty(seconds=60)
        # It was delivered, so it is gone whatever else went wrong.
        assert sorted(to for _, to, _ in office.world.taken) == [f"u{number}@example.net" for number in range(10)]

    run_sqlite(body)


def test_rows_that_cannot_be_claimed_are_not_claimed_all_the_time(run_sqlite, monkeypatch):
    async def body(office):
        def claim(*_):
            raise ValueError("a bug of ours")

        monkeypatch.setattr(queue_claim, "claim", claim)
        await office.put("a@example.net")
        office.start()
        await asyncio.sleep(600)
        assert office.store.writes < 100
        monkeypatch.undo()
        await office.empty(seconds=120)

    run_sqlite(body)


def test_the_lanes_of_several_nodes_together_are_no_more_than_the_destination_may_have(run):
    """Nodes share a database and count their lanes for themselves: whoever has the lease has them all."""

    async def body(office):
        office.settings = office.settings.replace(destination_connections=4)
        server = office.world.servers["mx example.net"]
        server.sending = 1.0
        nodes = []
        for number in range(3):
            office.ledger = Ledger(4)
            nodes.append(office.start(f"node{number}:1:1"))
        for number in range(120):
            await office.accept(nodes[number % 3], f"u{number}@example.net")
            await asyncio.sleep(0.1)
        await office.until(lambda: len(office.world.taken) > 60)
        (busy,) = [node for node in nodes if node.busy]
        await busy.stop(10.0)  # another goes on
        await office.empty(seconds=600)
        assert server.peak == 4
        assert sorted(to for _, to, _ in office.world.taken) == sorted(
            f"u{number}@example.net" for number in range(120)
        )

    run(body)
