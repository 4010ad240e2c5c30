"""The lanes of a destination among the workers of a machine."""

from __future__ import annotations

import asyncio

from pillarbox.access.ledger import Ledger
from pillarbox.flow.parcel import Hop
from pillarbox.flow.sending.lane import LaneRunner
from pillarbox.flow.sending.portion import Portion

HOP = Hop(name="mx example.net", kind="mx", domain="example.net")
MOST = 10


def pair(part=5, most=MOST):
    ledger = Ledger(2)
    portions = [Portion(ledger.attach(number)) for number in (1, 2)]
    for portion in portions:
        portion.follow(HOP, part, most)
    return ledger, *portions


def test_what_others_leave_is_free_until_they_lack_it():
    _, one, two = pair()
    mine = [one.take() for _ in range(MOST)]
    assert all(mine) and one.take() is None and not one.over
    assert two.take() is None
    assert two.waits and one.over
    mine[0].close()  # its lane ends, and has its connection still
    assert not one.over and two.take() is None
    mine[0].give()
    theirs = two.take()
    assert theirs is not None and not two.waits
    assert one.take() is None and not one.waits, "beyond its part nothing is waited for"
    theirs.give()
    assert one.take() is not None


def test_nobody_takes_what_is_anothers_part():
    _, one, two = pair()
    theirs = [two.take() for _ in range(5)]
    mine = [one.take() for _ in range(6)]
    assert all(theirs) and all(mine[:5]) and mine[5] is None
    assert two.take() is None and not two.waits and not one.over


def test_a_wish_that_is_forgone_is_nobodys():
    _, one, two = pair()
    for _ in range(MOST):
        one.take()
    assert two.take() is None and one.over
    two.forgo()
    assert not one.over


def test_who_closes_one_asks_nobody_for_another():
    _, one, two = pair()
    theirs = two.take()
    for _ in range(MOST - 1):
        one.take()
    theirs.close()
    assert two.take() is None and not two.waits and not one.over
    theirs.give()
    assert two.take() is not None


def test_what_a_dead_worker_had_is_free():
    ledger, one, two = pair()
    for _ in range(MOST):
        one.take()
    assert two.take() is None
    ledger.clear(1)
    assert all(two.take() for _ in range(MOST))


def test_a_route_that_changes_begins_anew():
    _, one, two = pair()
    old = [one.take() for _ in range(MOST)]
    assert two.take() is None
    for portion in (one, two):
        portion.follow(Hop(name=HOP.name, kind="smarthost", host="new.test"), 2, 4)
    assert not one.over and two.take() is not None and not two.waits
    for place in old:
        place.give()
    assert all(one.take() for _ in range(3)) and one.take() is None


def test_without_room_in_the_ledger_each_has_its_part():
    ledger = Ledger(1, connection_entries=16)
    slot = ledger.attach(1)
    table = ledger.connection_table(1)
    for at in range(0, len(table), 4):
        table[at], table[at + 2] = at + 1, 1  # somebody else's
    portion = Portion(slot)
    portion.follow(HOP, 5, MOST)
    places = [portion.take() for _ in range(6)]
    assert [place is not None for place in places] == [True] * 5 + [False]
    places[0].give()
    assert portion.take() is not None


async def two_workers(office):
    """The first has the destination, which is known to bear all lanes, the second has a run without the lease."""
    first, second = office.start(siblings=1), office.start("here:2:1", siblings=1)
    for attempt in range(20):  # who is quicker is chance: the lease may change hands, or the other begin no run
        for number in range(150):
            await office.put(f"first{attempt}.{number}@example.net")
        await office.empty()
        if any(run.leased for run in second._runs.values()):
            first, second = second, first
        known = [run for run in first._runs.values() if run.leased]
        server = office.world.servers["mx example.net"]
        all_lanes = server.peak == office.settings.destination_connections
        server.peak = 0
        await office.accept(second, f"second{attempt}@example.net")
        await office.empty(seconds=10)
        await asyncio.sleep(0.1)
        if known and all_lanes and list(first._runs.values()) == known and second._runs:
            break
    assert [run.leased for run in (*first._runs.values(), *second._runs.values())] == [True, False]
    return first, second, server


def test_a_backlog_goes_through_all_lanes_when_siblings_rest(run_sqlite):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=MOST)
        _, _, server = await two_workers(office)
        await asyncio.sleep(12)  # its lanes close
        server.sending = 1
        for number in range(600):
            await office.put(f"u{number}@example.net")
        began = office.loop.now
        await office.empty()
        assert server.peak == MOST
        assert office.loop.now - began < 80

    run_sqlite(body)


def test_a_sibling_gets_a_lane_back_after_a_message(run_sqlite):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=MOST)
        first, second, server = await two_workers(office)
        await asyncio.sleep(5.5)  # the lanes of the sibling close
        server.sending = 1
        for number in range(80):
            await office.accept(first, f"u{number}@example.net")
        await asyncio.sleep(2)
        assert server.open == MOST and not any(run.lanes for run in second._runs.values())
        (outcome,) = await office.accept(second, "mine@example.net")
        assert outcome.claimed is not None
        asked = office.loop.now
        await office.until(lambda: any(to == "mine@example.net" for _, to, _ in office.world.taken), 10, 0.05)
        assert office.loop.now - asked < 2.5
        await office.empty(seconds=60)
        assert server.peak == MOST

    run_sqlite(body)


def test_idle_lanes_are_given_back_too(run_sqlite):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=4)
        first, second, server = await two_workers(office)
        await asyncio.sleep(5.5)
        server.sending = 1
        for number in range(24):
            await office.accept(first, f"u{number}@example.net")
        await office.empty(seconds=60)
        assert server.open == 4 and not any(run.lanes for run in second._runs.values())
        asked = office.loop.now
        await office.accept(second, "mine@example.net")
        await office.empty(seconds=3)
        assert office.loop.now - asked < 2
        assert server.peak == 4

    run_sqlite(body)


def test_a_run_without_lease_that_gets_no_lane_leaves_its_mail_to_who_has_it(run_sqlite):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=4)
        first, second, server = await two_workers(office)
        before = len(office.world.taken)
        await asyncio.sleep(5.5)
        server.sending = 19
        for number in range(4):
            await office.accept(first, f"slow{number}@example.net")
        await asyncio.sleep(1)
        (outcome,) = await office.accept(second, "mine@example.net")
        assert outcome.claimed is not None
        await asyncio.sleep(7)
        assert not second.busy
        assert len(office.world.taken) == before
        await office.empty(seconds=60)
        assert len(office.world.taken) == before + 5
        assert server.peak == 4

    run_sqlite(body)


def test_the_lanes_of_a_sibling_that_is_killed_come_to_the_other(run_sqlite):
    async def body(office):
        office.settings = office.settings.replace(destination_connections=4)
        sibling = Portion(office.ledger.attach(3))
        office.start(siblings=1)
        sibling.follow(HOP, 2, 4)
        assert all(sibling.take() for _ in range(4))
        server = office.world.servers["mx example.net"]
        server.sending = 1
        for number in range(200):
            await office.put(f"u{number}@example.net")
        await asyncio.sleep(20)
        assert server.open == 0 and sibling.over
        office.ledger.clear(3)
        await office.until(lambda: server.open == 4, seconds=10)
        await office.empty()

    run_sqlite(body)


def test_a_lane_that_is_cut_before_it_began_is_nobodys(run_sqlite, monkeypatch):
    start, cut = LaneRunner.start, []

    def cut_at_once(lane):
        start(lane)
        if not cut:
            cut.append(lane)
            lane.cut()

    monkeypatch.setattr(LaneRunner, "start", cut_at_once)

    async def body(office):
        scheduler = office.start()
        await office.put("a@example.net")
        await office.empty(seconds=20)
        assert len(cut) == 1 and len(office.world.taken) == 1
        await asyncio.sleep(20)
        assert not scheduler.busy and scheduler._parts.slots.ordinary == 0

    run_sqlite(body)
