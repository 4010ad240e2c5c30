"""Who sends what: destinations are leased, rows claimed in their order, and nothing is lost when a holder dies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from store_samples import Clock, message

from pillarbox.store import QUEUE, Store, Touched, messages, queue, queue_claim, queue_settle
from pillarbox.store.records import Destination, Queued, QueuedMessage, QueueFilter
from pillarbox.store.tx import Tx

LEASE = 60


async def put(store: Store, *recipients: str, to: str = "mx example.net", **more: Any) -> list[int]:
    plans = [Queued("a@example.com", recipient, destination=to, **more) for recipient in recipients]
    return [outcome.queue_id or 0 for outcome in await store.write(messages.deliver, message(), plans)]


async def lease(store: Store, holder: str = "one", limit: int = 10) -> list[Destination]:
    return await store.write(queue_claim.due_destinations, holder, limit, LEASE)


async def claim(store: Store, destination: Destination, holder: str = "one", limit: int = 10) -> list[QueuedMessage]:
    return await store.write(queue_claim.claim, destination.id, holder, limit, LEASE)


async def leave(store: Store, destination: Destination, holder: str = "one", **more: Any) -> None:
    learnt = {"failures": 0, "concurrency": 0, "blocked_until": None, "last_error": "", **more}
    await store.write(queue_claim.leave, destination.id, holder, **learnt)


async def status_of(store: Store, queue_id: int) -> tuple[str, int | None]:
    (row,) = await store.read(queue.find, QueueFilter(ids=(queue_id,)))
    return row.status, row.next_retry_at


async def test_a_claimed_row_has_all_that_a_sender_needs(store: Store, clock: Clock) -> None:
    given = Queued(
        "a@example.com", "b@example.net", b"X: 1\r\n", 3, "mx example.net", 7, "KEY", 9, "list@example.com",
        "SUCCESS,FAILURE", "rfc822;b@example.net", "HDRS", "envid", "8BITMIME", True, clock.now + 99, "RT",
    )  # fmt: skip
    (outcome,) = await store.write(messages.deliver, message(), [given])
    assert outcome.queue_id is not None
    (destination,) = await lease(store)
    assert (destination.name, destination.due_at, destination.holder) == ("mx example.net", clock.now, "")
    (row,) = await claim(store, destination)
    (blob,) = await store.read(lambda tx: tx.row("SELECT blob_id FROM message_queue") or ())
    assert row == QueuedMessage(
        outcome.queue_id, "KEY", "a@example.com", "b@example.net", b"X: 1\r\n", blob, message().analysis.size + 6, 3, 0,
        clock.now, None, 7, 9, "list@example.com", "SUCCESS,FAILURE", "rfc822;b@example.net", "HDRS", "envid",
        "8BITMIME", True, clock.now + 99, "RT", None, None,
    )  # fmt: skip
    assert row.smtputf8 is True
    (seen,) = await store.read(queue.find, QueueFilter())
    assert (seen.status, seen.claimed_by, seen.next_retry_at) == ("processing", "one", clock.now + LEASE)
    assert await claim(store, destination, "two") == []


async def test_the_order_of_claims(store: Store, clock: Clock) -> None:
    (low,) = await put(store, "low@x", priority=-4)
    first, second = await put(store, "1@x", "2@x")
    clock.now += 1
    (third,) = await put(store, "3@x")
    (high,) = await put(store, "high@x", priority=4)
    await put(store, "later@x", priority=9, not_before=clock.now + 100)
    (destination,) = await lease(store)
    assert [row.id for row in await claim(store, destination, limit=3)] == [high, first, second]
    assert [row.id for row in await claim(store, destination)] == [third, low]


async def test_destinations_of_urgent_rows_go_first(store: Store, clock: Clock) -> None:
    for number in range(5):
        await put(store, "b@x", to=f"mx {number}")
        clock.now += 1
    await put(store, "b@x", to="mx urgent", priority=2)
    await put(store, "b@x", to="mx most urgent", priority=6)
    await put(store, "b@x", to="mx later", priority=9, not_before=clock.now + 50)
    names = [destination.name for destination in await lease(store, limit=4)]
    assert names == ["mx most urgent", "mx urgent", "mx 0", "mx 1"]
    names = [destination.name for destination in await lease(store, "two", limit=99)]
    assert names == ["mx 2", "mx 3", "mx 4"]


async def test_a_destination_has_one_holder_until_its_lease_ends(store: Store, clock: Clock) -> None:
    await put(store, "b@x")
    (destination,) = await lease(store)
    assert await lease(store, "two") == await lease(store) == []
    assert await store.read(queue_claim.next_due) == clock.now + LEASE
    clock.now += LEASE
    (again,) = await lease(store, "two")
    assert again.id == destination.id
    await leave(store, destination, "one", failures=5)  # too late: it is another's
    assert await lease(store, "three") == []
    await leave(store, destination, "two", failures=3, concurrency=2, last_error="451 no", blocked_until=clock.now + 30)
    assert await lease(store) == []
    assert await store.read(queue_claim.next_due) == clock.now + 30
    clock.now += 30
    (found,) = await lease(store)
    assert (found.failures, found.concurrency, found.last_error) == (3, 2, "451 no")


async def test_due_at_is_that_of_the_first_row(store: Store, clock: Clock) -> None:
    one, two = await put(store, "1@x", "2@x")
    (destination,) = await lease(store)
    await claim(store, destination)
    await store.write(queue_settle.defer, [(one, clock.now + 900, "450", "h"), (two, clock.now + 300, "450", "h")])
    await leave(store, destination)
    assert await store.read(queue_claim.next_due) == clock.now + 300
    await put(store, "3@x", not_before=clock.now + 200)
    assert await store.read(queue_claim.next_due) == clock.now + 200
    await put(store, "4@x", to="mx other")
    assert await store.read(queue_claim.next_due) == clock.now


async def test_settling(store: Store, clock: Clock) -> None:
    ids = await put(store, "done@x", "deferred@x", "dead@x", "back@x", "late@x")
    (destination,) = await lease(store)
    rows = await claim(store, destination)
    await store.write(queue_settle.remove, ids[:1])
    await store.write(queue_settle.defer, [(ids[1], clock.now + 300, "451 4.7.1 later", "mx1")], holder="one")
    await store.write(queue_settle.fail, [(ids[2], "554 5.0.0 never", "mx2")], holder="one")
    await store.write(queue_settle.give_back, "one", ids[3:4])
    await store.write(queue_settle.note_delay, ids[4:])
    found = {row.id: row for row in await store.read(queue.find, QueueFilter())}
    assert ids[0] not in found
    deferred, dead, back = (found[id] for id in ids[1:4])
    assert (deferred.status, deferred.next_retry_at, deferred.attempts) == ("retry", clock.now + 300, 1)
    assert (deferred.last_error, deferred.last_host, deferred.claimed_by) == ("451 4.7.1 later", "mx1", "")
    assert (dead.status, dead.next_retry_at, dead.attempts, dead.last_host) == ("failed", None, 1, "mx2")
    assert (back.status, back.next_retry_at, back.attempts) == ("pending", clock.now, 0)
    clock.now += LEASE
    rows = await claim(store, destination, "two")
    assert [row.delay_reported_at for row in rows if row.id == ids[4]] == [clock.now - LEASE]


async def test_who_is_given_up_without_an_attempt_has_none_more(store: Store) -> None:
    tried, ordered = await put(store, "1@x", "2@x")
    (destination,) = await lease(store)
    await claim(store, destination)
    gone = [(tried, "554 5.0.0 never", "mx2"), (ordered, "554 5.7.1 returned", "")]
    await store.write(queue_settle.fail, gone, untried={ordered}, holder="one")
    found = {row.id: (row.status, row.attempts) for row in await store.read(queue.find, QueueFilter())}
    assert found == {tried: ("failed", 1), ordered: ("failed", 0)}


async def test_settling_what_is_anothers_by_now_changes_nothing(store: Store, clock: Clock) -> None:
    ids = await put(store, "1@x", "2@x", "3@x")
    (destination,) = await lease(store)
    await claim(store, destination)
    clock.now += LEASE
    assert len(await claim(store, destination, "two")) == 3
    await store.write(queue_settle.defer, [(ids[0], clock.now, "late", "")], holder="one")
    await store.write(queue_settle.fail, [(ids[1], "late", "")], holder="one")
    await store.write(queue_settle.give_back, "one", ids)
    for queue_id in ids:
        assert await status_of(store, queue_id) == ("processing", clock.now + LEASE)
    await store.write(queue.hold, QueueFilter(ids=(ids[0],)))
    await store.write(queue_settle.defer, [(ids[0], clock.now, "451", "")])
    assert await status_of(store, ids[0]) == ("held", None)


async def test_prolonging(store: Store, clock: Clock) -> None:
    ids = await put(store, "1@x", "2@x")
    (destination,) = await lease(store)
    await claim(store, destination)
    clock.now += LEASE - 1
    await store.write(queue_claim.prolong, "one", ids[:1], [destination.id], LEASE)
    await store.write(queue_claim.prolong, "thief", ids, [destination.id], 10 * LEASE)
    clock.now += LEASE - 1
    assert await lease(store, "two") == []
    assert [row.id for row in await claim(store, destination, "two")] == ids[1:]


async def test_what_the_dead_had_is_due_at_once(store: Store, clock: Clock) -> None:
    (mine,) = await put(store, "1@x", to="mx mine")
    (theirs,) = await put(store, "2@x", to="mx theirs")
    for destination in await lease(store, "dead", 1) + await lease(store, "alive", 1):
        await claim(store, destination, "dead" if destination.name == "mx mine" else "alive")
    told: list[frozenset[Touched]] = []
    store.on_commit(told.append)
    assert await store.write(queue_claim.free_dead, lambda holder: holder == "alive") == 2
    assert await store.write(queue_claim.free_dead, lambda holder: holder == "alive") == 0
    assert told == [frozenset({QUEUE})]
    assert await status_of(store, mine) == ("pending", clock.now)
    assert await status_of(store, theirs) == ("processing", clock.now + LEASE)
    assert [destination.name for destination in await lease(store, "new")] == ["mx mine"]


async def test_rows_without_a_destination_are_given_one(store: Store, clock: Clock) -> None:
    rows = [*await put(store, "1@x", "2@y", to=""), *await put(store, "urgent@x", to="", priority=1)]
    (held,) = await put(store, "held@x", to="", held=True)
    assert await store.read(queue_claim.next_due) == 0
    found = await store.read(queue_claim.unrouted, 10)
    assert [(row.id, row.recipient, row.route_id) for row in found] == [
        (rows[2], "urgent@x", None), (rows[0], "1@x", None), (rows[1], "2@y", None),
    ]  # fmt: skip
    assert len(await store.read(queue_claim.unrouted, 1)) == 1
    given = [(rows[0], "mx x", None), (rows[1], "route 3", 3), (held, "mx x", None), (999, "mx gone", None)]
    told: list[frozenset[Touched]] = []
    store.on_commit(told.append)
    await store.write(queue_claim.assign, given)
    await asyncio.sleep(0)  # who waited goes on first
    assert told == [frozenset({QUEUE})]
    assert [row.id for row in await store.read(queue_claim.unrouted, 10)] == [rows[2]]
    by_name = {destination.name: destination for destination in await lease(store)}
    assert by_name.keys() == {"mx x", "route 3"}
    (row,) = await claim(store, by_name["route 3"])
    assert (row.id, row.route_id) == (rows[1], 3)
    await store.write(queue_claim.assign, [(rows[1], "mx elsewhere", None)])  # it has one
    assert await store.read(queue_claim.next_due) == 0
    await store.write(queue_claim.assign, [(rows[2], "mx x", None)])
    assert await store.read(queue_claim.next_due) == clock.now + LEASE
    assert await status_of(store, held) == ("held", None)


@pytest.mark.parametrize("due", ["NULL", "5"])
async def test_rows_written_by_hand_are_sent_too(store: Store, due: str) -> None:
    from pillarbox.store import blobs, destinations

    def by_hand(tx: Tx) -> None:
        columns = "from_address, to_address, message_data, created_at, next_retry_at"
        for recipient, text in (("full@x.org", b"Subject: by hand\r\n\r\n"), ("empty@x.org", b"")):
            tx.run(f"INSERT INTO message_queue ({columns}) VALUES ('a@b.c', ?, ?, 1, {due})", (recipient, text))

    await store.write(by_hand)
    await store.write(destinations.sweep)
    rows = await store.read(queue_claim.unrouted, 10)
    assert [row.recipient for row in rows] == ["full@x.org", "empty@x.org"]
    await store.write(queue_claim.assign, [(row.id, "mx x.org", None) for row in rows])
    (destination,) = await lease(store)
    (row,) = await claim(store, destination)
    assert (row.recipient, row.size) == ("full@x.org", 20)
    assert await store.read(blobs.read_slice, row.blob_id, 0, 99) == b"Subject: by hand\r\n\r\n"
    (dead,) = await store.read(queue.find, QueueFilter(status="failed"))
    assert (dead.to_address, dead.last_error) == ("empty@x.org", "there is no message in this row")
    await store.write(lambda tx: tx.run("DELETE FROM message_queue WHERE blob_id IS NULL"))


async def test_a_row_whose_blob_vanished_from_outside_becomes_a_dead_letter(store: Store) -> None:
    one, two = await put(store, "1@x", "2@x")
    await store.write(lambda tx: tx.run("UPDATE message_queue SET blob_id = NULL WHERE id = ?", (one,)))
    (destination,) = await lease(store)
    assert [row.id for row in await claim(store, destination)] == [two]
    assert await status_of(store, one) == ("failed", None)
    await store.write(queue.delete, QueueFilter(status="failed"))


async def test_everything_is_found_with_many_rows(store: Store, clock: Clock) -> None:
    for start in range(0, 300, 100):
        await put(store, *(f"{number}@x" for number in range(start, start + 100)), priority=start // 100 - 1)
    (destination,) = await lease(store)
    seen: list[int] = []
    while rows := await claim(store, destination, limit=37):
        seen += [row.id for row in rows]
        await store.write(queue_settle.remove, [row.id for row in rows])
    assert len(seen) == len(set(seen)) == 300
    await leave(store, destination)
    assert await store.read(queue_claim.next_due) is None


async def test_rows_are_claimed_by_their_ids(store: Store, clock: Clock) -> None:
    one, two = await put(store, "1@x", "2@y", to="")
    (later,) = await put(store, "3@x", to="", not_before=clock.now + 1)
    claimed = await store.write(queue_claim.claim_rows, [one, two, later, 99], "one", LEASE)
    assert [row.id for row in claimed] == [one, two]
    assert await store.write(queue_claim.claim_rows, [one, two], "one", LEASE) == []
    clock.now += LEASE
    assert len(await store.write(queue_claim.claim_rows, [one, two, later], "two", LEASE)) == 3


async def test_whatever_a_server_says_its_row_is_settled(store: Store, clock: Clock) -> None:
    ids = await put(store, "1@x", "2@x")
    (destination,) = await lease(store)
    await claim(store, destination)
    odd = "450 \0 \udcff \u00fc " + "x" * 100_000
    await store.write(queue_settle.defer, [(ids[0], clock.now + 1, odd, odd)])
    await store.write(queue_settle.fail, [(ids[1], odd, odd)])
    await leave(store, destination, last_error=odd)
    for row in await store.read(queue.find, QueueFilter()):
        assert row.last_error is not None
        assert row.last_error.startswith("450 \ufffd ? \u00fc xxx")
        assert len(row.last_error) == len(row.last_host) == queue_settle.MOST
