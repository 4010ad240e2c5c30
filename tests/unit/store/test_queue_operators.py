"""What an operator does to the queue, for one row, a filter, or all; and an account that is held."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from store_samples import Clock, message

from pillarbox.flow import dead_letters, queue_orders
from pillarbox.flow.destination import adopt
from pillarbox.flow.queue_orders import Order
from pillarbox.store import (
    DIRECTORY,
    QUEUE,
    Store,
    Touched,
    Tx,
    destinations,
    directory,
    messages,
    queue,
    queue_claim,
    queue_settle,
    queue_wishes,
    routes,
)
from pillarbox.store import senders as sending
from pillarbox.store.records import Queued, QueueFilter, QueueRow, User

ALL = QueueFilter()


async def put(store: Store, *recipients: str, to: str = "mx example.net", **more: Any) -> list[int]:
    plans = [Queued(more.pop("sender", "a@example.com"), r, destination=to, **more) for r in recipients]
    return [outcome.queue_id or 0 for outcome in await store.write(messages.deliver, message(), plans)]


async def rows(store: Store, wanted: QueueFilter = ALL) -> dict[int, QueueRow]:
    return {row.id: row for row in await store.read(queue.find, wanted)}


async def claim_all(store: Store, holder: str = "one") -> list[int]:
    claimed = []
    for destination in await store.write(queue_claim.due_destinations, holder, 100, 60):
        claimed += [row.id for row in await store.write(queue_claim.claim, destination.id, holder, 1000, 60)]
    return claimed


async def test_filters(store: Store, clock: Clock) -> None:
    (one,) = await put(store, "One@Example.NET", message_key="K1", user_id=7)
    clock.now += 100
    (two,) = await put(store, "two@sub.example.net", to="mx sub", sender="")
    (three,) = await put(store, "100%_three@a_b.net", to="")
    (four,) = await put(store, "four@aXb.net", held=True)

    async def found(**wanted: Any) -> list[int]:
        wanted = QueueFilter(**wanted)
        ids = [row.id for row in await store.read(queue.find, wanted)]
        assert await store.scan(queue.find_ids, wanted) == ids
        return ids

    assert await found() == [one, two, three, four]
    assert await found(ids=(four, one, 999)) == [one, four]
    assert await found(ids=()) == []
    assert await found(status="held") == [four]
    assert await found(sender="") == [two]
    assert await found(sender="A@EXAMPLE.com", status="pending") == [one, three]
    assert await found(recipient="one@example.net") == [one]
    assert await found(domain="Example.net.") == [one]
    assert await found(domain="a_b.net") == [three]
    assert await found(destination="mx sub") == [two]
    assert await found(destination="mx nowhere") == []
    assert await found(user_id=7) == await found(message_key="K1") == await found(older_than=clock.now) == [one]
    assert [row.id for row in await store.read(queue.find, ALL, 2, one)] == [two, three]
    assert (await rows(store))[two].destination == "mx sub"
    assert (await rows(store))[three].destination == ""


async def test_hold_and_release(store: Store, clock: Clock) -> None:
    one, two, three = await put(store, "1@x", "2@x", "3@y")
    assert await claim_all(store) == [one, two, three]
    assert await store.write(queue.hold, QueueFilter(domain="x")) == 2
    assert await store.write(queue.hold, QueueFilter(domain="x")) == 0
    assert (await store.read(queue.counts)).held == 2
    await store.write(queue_settle.remove, [one])  # it had arrived just then
    await store.write(queue_settle.defer, [(two, clock.now, "450", "")])
    await store.write(queue_settle.let_go, "one", [two])
    assert {id: row.status for id, row in (await rows(store)).items()} == {two: "held", three: "processing"}
    clock.now += 10_000
    assert await claim_all(store) == [three]
    told: list[frozenset[Touched]] = []
    store.on_commit(told.append)
    assert await store.write(queue.release, ALL) == 1
    await asyncio.sleep(0)  # who waited goes on first
    assert told == [frozenset({QUEUE})]
    (waiting,) = await store.read(queue_claim.unrouted, 10)
    assert waiting.id == two
    assert (await rows(store))[two].status == "pending"


async def test_no_order_sends_a_message_before_its_sender_wants_it_released(store: Store, clock: Clock) -> None:
    """RFC 4865: it must not be released before that time, whatever happened to the queue meanwhile."""
    at = clock.now + 1000
    (ours,) = await put(store, "1@x", not_before=at)
    (by_rule,) = await put(store, "2@x", not_before=at, held=True)
    (by_hand,) = await put(store, "3@x", not_before=at)
    assert (await store.read(queue.find, ALL))[0].not_before == at
    await store.write(queue.hold, QueueFilter(ids=(ours,)))
    assert await store.write(queue.release, ALL) == 2
    by_sql = "UPDATE message_queue SET status = 'held' WHERE id = ?", "UPDATE message_queue SET status = 'pending'"
    await store.write(lambda tx: (tx.run(by_sql[0], (by_hand,)), tx.run(by_sql[1])))
    while await store.write(destinations.sweep):
        pass
    assert await store.write(queue.retry_now, ALL) == 0
    assert await store.write(adopt, 10) == 3
    assert await claim_all(store) == []
    clock.now = at
    assert sorted(await claim_all(store)) == [ours, by_rule, by_hand]


async def test_what_is_returned_does_not_wait_for_its_release(store: Store, clock: Clock) -> None:
    (one,) = await put(store, "1@x", not_before=clock.now + 1000, held=True)
    assert await store.write(queue.bounce, ALL) == 1
    assert await store.write(queue.hold, ALL) == 1
    assert await store.write(queue.release, ALL) == 1
    assert await store.write(adopt, 10) == 1
    assert await claim_all(store) == [one]


async def test_what_is_held_and_released_while_it_is_sent_is_nobody_elses_claim(store: Store, clock: Clock) -> None:
    ids = await put(store, "1@x", "2@x", "3@x", "4@x")
    sent, tried, dropped, other = ids

    async def claimable() -> list[int]:
        return sorted(row.id for row in await store.write(queue_claim.claim_rows, ids, "two", 1))

    assert await claim_all(store) == ids
    await store.write(queue.hold, ALL)
    await store.write(queue_settle.give_back, "two", ids)  # nothing of it is in that hand
    assert await store.write(queue.bounce, ALL) == await store.write(queue.delete, ALL) == 0
    assert await store.write(queue.release, ALL) == 4
    assert await claimable() == []
    assert {row.claimed_by for row in (await rows(store)).values()} == {"one"}
    await store.write(queue_settle.remove, [sent])
    await store.write(queue_settle.give_back, "one", [dropped])
    clock.now += 10
    assert await claimable() == [dropped]
    clock.now += queue_wishes.IN_HAND  # its sender never says a word
    assert await claimable() == [tried, dropped, other]
    assert await store.check() == []


async def test_a_row_that_is_held_or_buried_by_hand_while_it_is_sent_is_no_fault(store: Store) -> None:
    held, buried = await put(store, "1@x", "2@x")
    assert await claim_all(store) == [held, buried]
    for row_id, status in ((held, "held"), (buried, "failed")):
        await store.write(lambda tx: tx.run("UPDATE message_queue SET status = ? WHERE id = ?", (status, row_id)))  # noqa: B023
    assert {row.claimed_by for row in (await rows(store)).values()} == {"one"}
    assert await store.check() == []


async def test_retry_now(store: Store, clock: Clock) -> None:
    one, two, dead, held = await put(store, "1@x", "2@x", "3@x", "4@x")
    await claim_all(store)
    await store.write(queue_settle.defer, [(one, clock.now + 900, "450", "")])
    await store.write(queue_settle.fail, [(dead, "550", "")])
    await store.write(queue.hold, QueueFilter(ids=(held,)))
    (destination,) = {row.destination for row in (await rows(store)).values()}
    assert destination == "mx example.net"
    left = {"failures": 4, "concurrency": 1, "blocked_until": clock.now + 5000, "last_error": "no route to host"}
    await store.write(queue_claim.leave, 1, "one", **left)
    assert await store.read(queue_claim.next_due) == clock.now + 5000
    assert await store.write(queue.retry_now, ALL) == 2
    assert await store.write(queue.retry_now, ALL) == 0
    found = await rows(store)
    assert (found[one].status, found[one].next_retry_at) == ("retry", clock.now)
    assert (found[two].status, found[two].claimed_by) == ("processing", "one")  # being sent just now
    assert (found[dead].status, found[dead].destination, found[dead].expires_at) == ("retry", "", clock.now + 86400)
    assert found[held].status == "held"
    assert await claim_all(store, "two") == [one]
    (waiting,) = await store.read(queue_claim.unrouted, 9)
    assert waiting.id == dead


async def test_retry_now_of_a_row_that_is_due_where_trouble_is_waited_out(store: Store, clock: Clock) -> None:
    (one,) = await put(store, "1@x")
    (destination,) = await store.write(queue_claim.due_destinations, "one", 1, 60)
    left = {"failures": 1, "concurrency": 1, "blocked_until": clock.now + 5000, "last_error": ""}
    await store.write(queue_claim.leave, destination.id, "one", **left)
    assert await claim_all(store) == []
    assert await store.write(queue.retry_now, QueueFilter(ids=(one,))) == 1
    assert await claim_all(store) == [one]


async def test_bounce(store: Store, clock: Clock) -> None:
    waiting, sent, held, dead = await put(store, "1@x", "2@y", "3@z", "4@z")
    await store.write(queue.hold, QueueFilter(ids=(waiting, held)))
    await claim_all(store)
    await store.write(queue_settle.fail, [(dead, "550", "")])
    await store.write(queue.release, QueueFilter(ids=(waiting,)))
    await store.write(queue_claim.assign, [(waiting, "mx x", None)])
    assert await store.write(queue.bounce, ALL) == 3
    assert await store.write(queue.bounce, ALL) == 0
    assert (await rows(store))[sent].expires_at is None
    assert {row.id for row in await store.read(queue_claim.unrouted, 9)} == {held, dead}
    (destination,) = await store.write(queue_claim.due_destinations, "two", 9, 60)
    (row,) = await store.write(queue_claim.claim, destination.id, "two", 9, 60)
    assert (row.id, row.expires_at) == (waiting, queue.BOUNCE)


async def test_delete(store: Store) -> None:
    one, two = await put(store, "1@x", "2@x")
    assert await store.write(queue.delete, QueueFilter(recipient="1@X")) == 1
    assert (await rows(store)).keys() == {two}
    await claim_all(store)
    assert await store.write(queue.delete, ALL) == 0  # it is being sent
    await store.write(queue_settle.defer, [(one, 0, "450", ""), (two, 0, "450", "")])
    assert await store.write(queue.delete, ALL) == 1


async def test_move_and_reroute(store: Store) -> None:
    one, two, held, sent = await put(store, "1@x", "2@x", "3@x", "4@x", route_id=5)
    await store.write(queue.hold, QueueFilter(ids=(held,)))
    (destination,) = await store.write(queue_claim.due_destinations, "one", 9, 60)
    await store.write(queue.hold, QueueFilter(ids=(one, two)))
    assert len(await store.write(queue_claim.claim, destination.id, "one", 9, 60)) == 1
    await store.write(queue.release, QueueFilter(ids=(one, two)))
    assert await store.write(queue.move, QueueFilter(ids=(one, held, sent)), 10, 3) == 2
    assert await store.write(queue.move, QueueFilter(ids=(one, held, sent)), 10, 3) == 0
    found = await rows(store)
    assert [(found[id].route_id, found[id].destination) for id in (one, held)] == [(3, "")] * 2
    assert found[held].status == "held"
    assert found[sent].route_id == 5
    assert {row.id: row.route_id for row in await store.read(queue_claim.unrouted, 9)} == {one: 3, two: None}
    await store.write(queue_claim.assign, [(one, "route 3", 3), (two, "route 5", 5)])
    assert await queue.in_pages(store, queue.reroute, ALL) == 2  # the rules changed
    assert {row.id: row.route_id for row in await store.read(queue_claim.unrouted, 9)} == {one: 3, two: None}
    assert await store.write(queue.move, QueueFilter(ids=(one,)), 10, None) == 1
    assert {row.id: row.route_id for row in await store.read(queue_claim.unrouted, 9)} == {one: None, two: None}


async def test_what_was_put_off_is_due_where_it_is_moved_to(store: Store) -> None:
    tried, later = await put(store, "1@x", "2@x")
    at = int(time.time()) + 3600

    def put_off(tx: Tx) -> None:  # the second is to be released then
        for queue_id, status in ((tried, "retry"), (later, "pending")):
            values = (status, at, queue_id)
            tx.run("UPDATE message_queue SET status = ?, next_retry_at = ? WHERE id = ?", values)

    await store.write(put_off)
    assert await store.write(queue.move, ALL, 10, 3) == 2
    found = await rows(store)
    assert found[tried].next_retry_at is not None
    assert found[tried].next_retry_at < at - 3000
    assert found[later].next_retry_at == at


@pytest.mark.parametrize("kind", ["smarthost", "hold"])
async def test_a_move_counts_and_not_what_was_wished_before(store: Store, kind: str) -> None:
    """It was in the hand of one who gave it back before he obeyed."""
    route = await store.write(routes.create_route, "other", kind, host="" if kind == "hold" else "hub.test")
    await put(store, "1@x")
    (queue_id,) = await claim_all(store)
    await store.write(queue_wishes.ask, [queue_id], queue_wishes.Wish("delete"))
    await store.write(queue_settle.give_back, "one", [queue_id])
    assert await store.read(lambda tx: tx.row("SELECT claimed_by, wish <> '' FROM message_queue")) == ("", True)
    assert await store.write(queue.move, ALL, 10, route.id) == 1
    assert await store.read(lambda tx: tx.row("SELECT wish FROM message_queue")) == ("",)


async def test_a_move_to_a_route_that_holds_holds_until_the_release(store: Store) -> None:
    route = await store.write(routes.create_route, "later", "hold")
    one, held, dead, sent = await put(store, "1@x", "2@x", "3@x", "4@x")
    await store.write(queue.hold, QueueFilter(ids=(one, held, dead)))
    await claim_all(store)
    await store.write(queue.release, QueueFilter(ids=(one,)))
    await store.write(lambda tx: tx.run("UPDATE message_queue SET status = 'failed' WHERE id = ?", (dead,)))
    for changed in (3, 0):
        assert await store.write(queue.move, ALL, 10, route.id) == changed
        assert await store.write(adopt, 10) == 0
    found = await rows(store)
    assert [(found[id].status, found[id].route_id) for id in (one, held, dead)] == [("held", route.id)] * 3
    assert (found[sent].status, found[sent].route_id) == ("processing", None)
    for again in (False, True):  # released, and held and released once more
        assert await store.write(queue.release, QueueFilter(ids=(one,))) == 1
        assert await store.write(adopt, 10) == 1
        row = (await rows(store))[one]
        assert (row.status, row.destination) == ("pending", "mx x")
        if not again:
            assert await store.write(queue.move, QueueFilter(ids=(one,)), 10, route.id) == 1


async def test_dead_letters_end_some_day(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "PAGE", 2)
    old = await put(store, "1@x", "2@x", "3@x", message_key="1ABC")
    (held,) = await put(store, "4@x", held=True)
    await claim_all(store)
    await store.write(queue_settle.fail, [(id, "550 no", "mx.x") for id in old])
    clock.now += 5 * dead_letters.DAY
    (touched,) = old[:1]
    assert await store.write(queue.retry_now, QueueFilter(ids=(touched,))) == 1
    assert await store.write(adopt, 10) == 1
    await claim_all(store)
    await store.write(queue_settle.fail, [(touched, "550 no", "mx.x")])
    (new,) = await put(store, "5@x", to="mx y")
    await claim_all(store)
    await store.write(queue_settle.fail, [(new, "550 no", "mx.x")])
    clock.now += 25 * dead_letters.DAY
    assert await store.write(dead_letters.trim, 0) == 0
    assert await store.write(dead_letters.trim, 30) == 0  # to the second
    clock.now += 1
    assert [await store.write(dead_letters.trim, 30) for _ in range(2)] == [2, 0]
    assert (await rows(store)).keys() == {touched, new, held}
    assert [await store.write(dead_letters.trim, 1) for _ in range(2)] == [2, 0]
    assert (await rows(store)).keys() == {held}
    forgotten = "SELECT recipient FROM message_events WHERE kind = 'forgotten' ORDER BY 1"
    told = await store.scan(lambda tx: tx.rows(forgotten))
    assert told == [("1@x",), ("2@x",), ("3@x",)]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_a_dead_letter_that_is_tried_again_just_now_does_not_end(store: Store, clock: Clock) -> None:
    began, ended = threading.Event(), threading.Event()
    (dead,) = await put(store, "1@x")
    await claim_all(store)
    await store.write(queue_settle.fail, [(dead, "550 no", "mx.x")])
    clock.now += 31 * dead_letters.DAY

    def retry(tx: Tx) -> int:
        changed = queue.retry_now(tx, ALL)
        began.set()
        ended.wait(2)
        return changed

    retried = asyncio.ensure_future(store.write(retry))
    await asyncio.to_thread(began.wait, 5)
    trimmed = asyncio.ensure_future(store.write(dead_letters.trim, 30))
    await asyncio.wait([trimmed], timeout=1)
    ended.set()
    assert (await retried, await trimmed) == (1, 0)
    assert [row.status for row in (await rows(store)).values()] == ["retry"]


async def test_many_rows_go_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "PAGE", 7)
    for half in ("even", "odd"):
        await put(store, *(f"{number}@{half}" for number in range(25)), user_id=1 if half == "odd" else None)
    assert await queue.in_pages(store, queue.hold, QueueFilter(domain="even")) == 25
    assert (await store.read(queue.counts)).held == 25
    assert await queue.in_pages(store, queue.move, ALL, 4) == 50
    assert await queue.in_pages(store, queue.release, ALL) == 25
    assert await store.write(queue.hold, ALL, 10) == 10
    assert await queue.in_pages(store, queue.delete, QueueFilter(user_id=1)) == 25
    assert (await store.read(queue.counts)).total == 25
    done = 0
    while changed := await store.write(queue.delete, ALL, 7):
        done += changed
    assert done == 25


async def test_an_account_is_held_and_released(store: Store, alice: User) -> None:
    told: list[frozenset[Touched]] = []
    store.on_commit(told.append)
    assert (alice.sending_held_at, alice.sending_held_reason) == (None, "")
    assert await store.write(sending.hold, alice.id, "many new recipients")
    assert not await store.write(sending.hold, alice.id, "again")
    assert told == [frozenset({DIRECTORY, Touched(alice.id, 0)})]
    (held,) = await store.read(sending.held)
    assert (held.id, held.sending_held_reason) == (alice.id, "many new recipients")
    assert held.sending_held_at is not None
    assert held.credentials_version == alice.credentials_version
    assert await store.write(sending.release, alice.id)
    assert not await store.write(sending.release, alice.id)
    assert await store.read(sending.held) == []
    assert await store.read(directory.get_user, alice.id) == alice


@pytest.mark.parametrize("order", ["hold", "delete"])
async def test_an_order_stands_in_the_story_of_each_row_that_it_changed(store: Store, order: Order) -> None:
    one, two, nameless, other = await put(store, "1@x", "2@x", "3@x", "4@x")

    def names(tx: Tx) -> None:
        for queue_id, key in ((one, "A"), (two, "B"), (nameless, ""), (other, "C")):
            tx.run("UPDATE message_queue SET message_key = ? WHERE id = ?", (key, queue_id))

    await store.write(names)
    wanted = QueueFilter(ids=(one, two, nameless))
    for changed in (3, 0):  # nothing happens the second time, and nothing is told of it
        assert await queue_orders.carry_out(store, order, wanted, "root") == (changed, 0, 0)
    told = await store.read(
        lambda tx: tx.rows(
            "SELECT message_key, kind, sender, recipient, queue_id, detail FROM message_events ORDER BY 1"
        )
    )
    kind = {"hold": "held", "delete": "deleted"}[order]
    assert told == [
        (key, kind, "a@example.com", recipient, queue_id, '{"operator":"root"}')
        for key, recipient, queue_id in (("A", "1@x", one), ("B", "2@x", two))
    ]
