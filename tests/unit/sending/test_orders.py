"""What an operator orders about messages that are being sent just now: he is told what happens, and that happens."""

from __future__ import annotations

import asyncio
import os

import pytest

from pillarbox.flow import queue_orders
from pillarbox.flow.sending.policy import policy
from pillarbox.store import queue_claim, routes
from pillarbox.store.records import QueueFilter
from world import LATER, NEVER, TAKEN

ALL = QueueFilter()
OWNER = "ada@example.org"


def taken(office):
    return [to.partition("@")[0] for _, to, _ in office.world.taken if to != OWNER]


def reports(office):
    return [to for _, to, _ in office.world.taken if to == OWNER]


async def order(office, what, *args, wanted=ALL):
    if what == "bounce":
        return await queue_orders.give_back(office.store, wanted, "eve", policy(office.settings))
    return await queue_orders.carry_out(office.store, what, wanted, "eve", *args)


async def in_transfer(office, *recipients, reply=TAKEN, seconds=5):
    """Messages whose content is on its way for some seconds."""
    server = office.world.servers["mx example.net"]
    server.sending, server.rule = seconds, lambda to, tries, now: reply if tries == 1 else TAKEN
    for to in recipients or ("a@example.net",):
        await office.put(to)
    office.start()
    await asyncio.sleep(1.5)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("what", ["bounce", "delete"])
def test_nothing_is_bounced_or_deleted_that_the_other_server_takes(run, what, held):
    async def body(office):
        await in_transfer(office)
        if held:
            await office.store.write(lambda tx: tx.run("UPDATE message_queue SET status = 'held'"))
        assert tuple(await order(office, what)) == (0, 1, 0)  # delivered meanwhile
        await office.empty(seconds=60)
        assert (taken(office), reports(office)) == (["a"], [])
        kinds = [kind for (kind,) in await office.ask("SELECT kind FROM message_events ORDER BY id")]
        assert kinds == ["relayed"]

    run(body)


async def story(office):
    return await office.ask("SELECT kind, detail FROM message_events ORDER BY id")


def test_a_report_that_is_bounced_by_an_operator_is_a_dead_letter_and_that_was_no_try(run):
    async def body(office):
        await office.put("a@example.net", sender="")
        assert tuple(await order(office, "bounce")) == (1, 0, 0)
        assert await office.rows("status, attempts, retry_count") == [("failed", 0, 0)]

    run(body)


@pytest.mark.parametrize("reply", [LATER, NEVER])
def test_what_the_other_server_does_not_take_is_bounced_once(run, reply):
    async def body(office):
        await in_transfer(office, reply=reply)
        assert tuple(await order(office, "bounce")) == (1, 0, 0)
        await office.empty(seconds=60)
        assert (taken(office), reports(office)) == ([], [OWNER])
        bounced = dict(await story(office))["bounced"]
        assert reply.text in bounced and ("administrator" in bounced) == (reply is LATER)

    run(body)


@pytest.mark.parametrize("reply", [LATER, NEVER])
def test_what_the_other_server_does_not_take_is_deleted_and_nobody_is_told(run, reply):
    async def body(office):
        await in_transfer(office, reply=reply)
        assert tuple(await order(office, "delete")) == (1, 0, 0)
        await office.empty(seconds=60)
        assert (taken(office), reports(office)) == ([], [])
        assert await story(office) == [("deleted", '{"operator":"eve"}')]

    run(body)


@pytest.mark.parametrize("reply", [LATER, NEVER])
def test_what_the_other_server_does_not_take_goes_the_other_way(run, reply):
    async def body(office):
        route = await office.store.write(routes.create_route, "hub", "smarthost", host="hub.test")
        await in_transfer(office, reply=reply)
        assert tuple(await order(office, "move", route.id)) == (1, 0, 0)
        await office.empty(seconds=60)
        assert taken(office) == ["a"] and reports(office) == []
        assert len(office.world.servers[f"route {route.id}"].parcels) == 1
        told = await story(office)
        assert [kind for kind, _ in told] == ["deferred", "moved", "relayed"]
        assert told[1][1] == '{"operator":"eve","destination":"route hub"}'

    run(body)


@pytest.mark.parametrize("reply", [LATER, NEVER])
def test_what_was_held_for_long_has_its_whole_life_where_it_is_moved_to(run, reply):
    async def body(office):
        route = await office.store.write(routes.create_route, "hub", "smarthost", host="hub.test")
        office.world.servers[f"route {route.id}"].rule = lambda to, tries, now: LATER if tries <= 2 else TAKEN
        await office.put("a@example.net", held=True)
        await asyncio.sleep(8 * 24 * 3600)
        await order(office, "release")
        await in_transfer(office, "b@example.net", reply=reply)
        assert tuple(await order(office, "move", route.id)) == (2, 0, 0)
        await office.empty(seconds=24 * 3600)
        assert (sorted(taken(office)), reports(office)) == (["a", "b"], [])

    run(body)


def test_what_is_moved_while_it_is_delivered_was_delivered(run):
    async def body(office):
        route = await office.store.write(routes.create_route, "hub", "smarthost", host="hub.test")
        later = await office.store.write(routes.create_route, "later", "hold")
        await in_transfer(office)
        assert tuple(await order(office, "move", route.id, wanted=QueueFilter(status="failed"))) == (0, 0, 0)
        assert tuple(await order(office, "move", None)) == (0, 0, 0)  # that is its way already
        assert tuple(await order(office, "move", later.id)) == (0, 1, 0)
        assert taken(office) == ["a"]

    run(body)


def test_a_move_to_a_route_that_holds_keeps_what_the_other_server_does_not_take(run):
    async def body(office):
        later = await office.store.write(routes.create_route, "later", "hold")
        await in_transfer(office, reply=LATER)
        assert tuple(await order(office, "move", later.id)) == (1, 0, 0)
        assert await office.rows("status, claimed_by, wish, route_id") == [("held", "", "", later.id)]

    run(body)


@pytest.mark.parametrize("reply", [TAKEN, LATER])
def test_a_hold_says_what_was_delivered(run, reply):
    async def body(office):
        await in_transfer(office, reply=reply)
        assert tuple(await order(office, "hold")) == ((0, 1, 0) if reply is TAKEN else (1, 0, 0))
        assert taken(office) == (["a"] if reply is TAKEN else [])
        assert await office.rows("status, claimed_by") == ([] if reply is TAKEN else [("held", "")])

    run(body)


@pytest.mark.parametrize("what", ["bounce", "delete", "hold"])
def test_an_order_does_not_wait_for_a_slow_server_that_has_no_content_yet(run, what):
    async def body(office):
        server = office.world.servers["mx example.net"]
        server.asking = 240
        office.start()
        for number in range(8):  # two on their way, the others wait for them
            await office.put(f"u{number}@example.net")
        await asyncio.sleep(3)
        began = office.loop.now
        assert tuple(await order(office, what)) == (8, 0, 0)
        assert office.loop.now - began < 5
        left = await office.rows("status, claimed_by, wish")
        if what == "hold":
            assert left == [("held", "", "")] * 8
        server.asking = 0
        await asyncio.sleep(600)
        assert taken(office) == []
        assert len(reports(office)) == (8 if what == "bounce" else 0)

    run(body)


def test_of_several_recipients_in_transfer_one_is_deleted(run):
    async def body(office):
        server = office.world.servers["mx example.net"]
        server.asking, server.rule = 8, lambda to, tries, now: LATER if to[0] == "b" else TAKEN
        ids = await office.put("a@example.net", "b@example.net")
        office.start()
        await asyncio.sleep(2)
        assert tuple(await order(office, "delete", wanted=QueueFilter(ids=(ids[1],)))) == (1, 0, 0)
        await office.empty(seconds=60)
        assert taken(office) == ["a"] and reports(office) == []

    run(body)


def test_who_does_not_wait_is_told_that_nobody_knows(run):
    async def body(office):
        await in_transfer(office, reply=LATER, seconds=60)
        began = office.loop.now
        assert tuple(await order(office, "delete")) == (0, 0, 1)
        assert queue_orders.PATIENCE <= office.loop.now - began < queue_orders.PATIENCE + 1
        assert [wish[:17] for (wish,) in await office.rows("wish")] == ['{"order":"delete"']
        await office.empty(seconds=60)
        assert (taken(office), reports(office)) == ([], [])

    run(body)


def test_the_last_order_counts(run):
    async def body(office):
        await in_transfer(office, reply=LATER, seconds=30)
        wait = {"patience": 0}
        await queue_orders.carry_out(office.store, "delete", ALL, "eve", **wait)
        await queue_orders.carry_out(office.store, "hold", ALL, "eve", **wait)
        await asyncio.sleep(40)
        assert await office.rows("status, claimed_by, wish") == [("held", "", "")]

    run(body)


@pytest.mark.parametrize("what", ["bounce", "delete"])
@pytest.mark.parametrize("here", [True, False])
def test_an_order_outlives_who_was_sending(run, what, here):
    """A process of this machine is found dead; of another's nobody knows, and its lease ends."""

    async def body(office):
        dead = f"{os.uname().nodename if here else 'there'}:999999999:1"
        await office.put("a@example.net")
        (destination,) = await office.store.write(queue_claim.due_destinations, dead, 1, 300)
        assert await office.store.write(queue_claim.claim, destination.id, dead, 9, 300)
        assert tuple(await order(office, what)) == ((1, 0, 0) if here else (0, 0, 1))
        office.start()
        await office.empty(seconds=3 if here else 400)
        assert taken(office) == []
        assert len(reports(office)) == (what == "bounce")

    run(body)


def test_what_was_held_in_the_hand_of_one_that_died_goes_at_once_when_it_is_released(run):
    async def body(office):
        dead = f"{os.uname().nodename}:999999999:1"
        office.start()
        await asyncio.sleep(1)  # it has looked for the dead
        ids = await office.put("a@example.net", held=True)
        claim = "UPDATE message_queue SET claimed_by = ? WHERE id = ?"
        await office.store.write(lambda tx: tx.run(claim, (dead, ids[0])))
        began = office.loop.now
        assert tuple(await order(office, "release")) == (1, 0, 0)
        await office.empty(seconds=60)
        assert office.loop.now - began < 3
        assert taken(office) == ["a"]

    run(body)


def test_what_is_wished_is_not_sent_by_who_claims_it_next(run):
    async def body(office):
        await office.put("a@example.net", "b@example.net")
        wish = "UPDATE message_queue SET wish = CASE to_address WHEN 'a@example.net' THEN 'delete' ELSE 'bounce' END"
        await office.store.write(lambda tx: tx.run(wish))
        office.start()
        await office.empty(seconds=60)
        assert (taken(office), reports(office)) == ([], [OWNER])

    run(body)
