"""Destinations that are down, slow or picky, for up to a day of virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

from world import LATER, TAKEN

DAY = 86_400
ABREAST = 200  # parcels that are claimed before another one, and sent beside it


def per_minute(times):
    return max(Counter(int(at // 60) for at in times).values(), default=0)


def taken(office, but="ada@example.org"):
    """Recipients in their order, without those of reports."""
    return [to for _, to, _ in office.world.taken if to != but]


def test_after_a_day_the_queue_drains_by_priority_and_age_and_no_herd_comes(run):
    async def body(office):
        server = office.world.servers["mx example.net"]
        server.down = True
        office.start()
        for number in range(200):
            await office.put(f"p{number % 3}-{number:03}@example.net", priority=number % 3)
            await asyncio.sleep(20)
        await asyncio.sleep(DAY - office.loop.now)
        connects = office.world.times()
        # Left alone: far fewer connections than tries of rows.
        assert len(connects) < 400
        tries = (await office.ask("SELECT sum(attempts) FROM message_queue"))[0][0]
        assert tries > 2000
        server.down = False
        before = len(connects)
        await office.until(lambda: taken(office), seconds=4 * 3600)
        await office.empty(seconds=3600)
        order = taken(office)
        assert len(order) == len(set(order)) == 200
        # The first ones are whichever were tried; then the urgent, and the old among them.
        assert [to[:2] for to in order[10:60]] == ["p2"] * 50
        ages = [int(to[3:6]) for to in order[10:60]]
        assert max(abs(sorted(ages).index(age) - at) for at, age in enumerate(ages)) <= 10  # as many as there are lanes
        assert [to[:2] for to in order[-60:]] == ["p0"] * 60
        assert per_minute(office.world.times()[before:]) <= 20
        assert server.peak <= 20
        assert len(office.world.taken) - len(order) == 200  # each sender was told once of the delay

    run(body, queue_flush_interval_ms=60_000)


def test_many_destinations_come_back_in_their_own_time(run_sqlite):
    async def body(office):
        names = [f"d{number}.example" for number in range(100)]
        for name in names:
            office.world.servers[f"mx {name}"].down = True
        office.start()
        for name in names:
            await office.put(f"a@{name}", f"b@{name}")
        await asyncio.sleep(DAY)
        for name in names:
            office.world.servers[f"mx {name}"].down = False
        before = len(office.world.times())
        await office.empty(seconds=6 * 3600)
        assert len(taken(office)) == 200
        assert per_minute(office.world.times()[before:]) <= 30

    run_sqlite(body, queue_flush_interval_ms=60_000)


def test_the_circuit_opens_and_one_lane_probes(run):
    async def body(office):
        server = office.world.servers["mx example.net"]
        server.down = True
        for number in range(100):
            await office.put(f"u{number}@example.net")
        office.start()
        await asyncio.sleep(200)
        assert len(office.world.connects) <= 7  # threshold 5, and what was under way
        ((failures, blocked),) = await office.ask("SELECT failures, blocked_until FROM destinations")
        assert failures >= 5
        assert blocked is not None
        assert {attempts for (attempts,) in await office.rows("attempts")} == {1}
        await asyncio.sleep(200)
        server.down = False
        await office.empty(seconds=1200)
        recovered = [at for at in office.world.times() if at > 400]
        assert len([at for at in recovered if at < recovered[0] + 0.1]) == 1

    run(body, circuit_breaker_threshold=5, circuit_breaker_timeout_seconds=60)


def test_tarpits_and_greylists_do_not_stall_others(run_sqlite):
    async def body(office):
        tarpits = [f"t{number}.example" for number in range(60)]
        for name in tarpits:
            server = office.world.servers[f"mx {name}"]
            server.connecting, server.sending = 250, 1000
        office.world.servers["mx grey.example"].rule = lambda to, tries, now: LATER if tries < 3 else TAKEN
        office.start()
        for name in tarpits:
            for number in range(5):
                await office.put(f"u{number}@{name}")
        for number in range(30):
            await office.put(f"u{number}@grey.example")
        await asyncio.sleep(60)
        # From now on they are known to be slow, and what is quick goes at once.
        for number in range(100):
            await office.put(f"a@q{number}.example")
        began = office.loop.now
        quick = {f"a@q{number}.example" for number in range(100)}
        await office.until(lambda: quick <= {to for _, to, _ in office.world.taken}, seconds=60)
        assert office.loop.now - began < 30
        await office.until(lambda: len([1 for _, to, _ in office.world.taken if "grey" in to]) == 30, seconds=3600)
        (scheduler,) = office.schedulers
        assert scheduler._parts.slots.slow < 100
        assert len(scheduler._runs) < 100

    run_sqlite(body, queue_connections=20)


def test_lanes_grow_with_success_up_to_what_a_server_takes(run):
    async def body(office):
        server = office.world.servers["mx example.net"]
        server.sending, server.most = 1.0, 6
        office.start()
        for number in range(400):
            await office.put(f"u{number}@example.net")
        await office.empty()
        assert server.peak == 6
        assert set(office.world.tries.values()) == {1}  # one lane too many costs no message a try
        assert office.loop.now < 120

    run(body)


def test_a_server_that_ends_connections_after_some_messages_costs_no_try(run):
    async def body(office):
        office.world.servers["mx example.net"].per_connection = 3
        office.start()
        for number in range(30):
            await office.put(f"u{number}@example.net")
        await office.empty(seconds=60)
        assert set(office.world.tries.values()) == {1}

    run(body)


def test_a_large_queue_for_one_that_is_down_stalls_nobody_and_leaves_in_its_order(run_sqlite):
    """Two workers of a machine, a day without the server, and then all of it at once."""
    count, names = 6_000, [f"other{number}.example" for number in range(5)]

    async def body(office):
        server = office.world.servers["mx example.net"]
        server.down = True
        office.start("here:1:1", siblings=1)
        office.start("here:2:1", siblings=1)
        step = count // 50
        for first in range(0, count, step):
            await office.fill(
                [(f"p{number % 3}-{number:05}@example.net", number % 3) for number in range(first, first + step)]
            )
            await asyncio.sleep(60)
        others, late = {}, []
        while office.loop.now < DAY:
            to = f"u{len(others)}@{names[len(others) % len(names)]}"
            others[to] = office.loop.now
            await office.put(to)
            await asyncio.sleep(600)
            late += [to for to in others if to not in {to for _, to, _ in office.world.taken}]
        assert late == [], "whoever else gets mail gets it at once"
        assert len(office.world.times("mx example.net")) < 200
        ((tries,),) = await office.ask("SELECT min(attempts) FROM message_queue")
        assert tries >= 3, "they grow old as others do"
        server.down = False
        before = len(office.world.times("mx example.net"))
        await office.until(lambda: server.open > 0, seconds=3 * 3600)  # somebody's next try
        await office.until(lambda: len(server.parcels) == count, seconds=4 * 3600, step=5)
        order = [to for _, to, _ in office.world.taken if to.endswith("@example.net")]
        assert len(order) == len(set(order)) == count
        # But for a probe and what is on its way together: by priority, and within it by age.
        wanted = sorted(order, key=lambda to: (-int(to[1]), int(to[3:8])))
        place = {to: at for at, to in enumerate(wanted)}
        assert max(abs(place[to] - at) for at, to in enumerate(order[5:])) <= 5 + ABREAST
        connects = office.world.times("mx example.net")[before:]
        assert len([at for at in connects if at < connects[0] + 0.15]) == 1, "one asks, and more follow as they succeed"
        assert server.peak <= 20 and len(connects) <= 60

    run_sqlite(body, queue_flush_interval_ms=60_000, delay_report_after=0, retry_schedule="30m 2h")
