"""Rows that somebody wrote into the queue and nobody can read: held with the reason, the others go their way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from store_samples import Clock, message

from pillarbox.flow import queue_orders
from pillarbox.flow.destination import adopt
from pillarbox.flow.owner import alive
from pillarbox.store import Store, destinations, events, messages, queue, queue_aside, queue_claim
from pillarbox.store.records import Queued, QueueFilter


async def put(store: Store, *recipients: str, to: str = "mx example.net") -> list[int]:
    plans = [Queued("a@example.com", recipient, destination=to, message_key="1ABC") for recipient in recipients]
    return [outcome.queue_id or 0 for outcome in await store.write(messages.deliver, message(), plans)]


async def by_hand(store: Store, queue_id: int, column: str, value: object) -> None:
    await store.write(lambda tx: tx.run(f"UPDATE message_queue SET {column} = ? WHERE id = ?", (value, queue_id)))


async def claimed(store: Store) -> list[int]:
    return [
        row.id
        for found in await store.write(queue_claim.due_destinations, "me", 9, 60)
        for row in await store.write(queue_claim.claim, found.id, "me", 1000, 60)
    ]


BAD: list[tuple[str, Any]] = [
    ("created_at", "yesterday"),
    ("created_at", 1_700_000_000_000),
    ("created_at", -1),
    ("created_at", 1.5),
    ("attempts", "many"),
    ("expires_at", "never"),
    ("expires_at", 10**13),
    ("deliver_by", b"x"),
    ("to_address", b"b@example.net"),
    ("from_address", b"\xff"),
    ("notify", b"NEVER"),
    ("prefix", "X: y"),
    ("smtputf8", "yes"),
]


@pytest.mark.parametrize(("column", "value"), BAD)
async def test_a_row_that_cannot_be_read_is_held(sqlite_store: Store, column: str, value: object) -> None:
    store = sqlite_store
    one, two, three = await put(store, "1@x", "2@x", "3@x")
    await by_hand(store, two, column, value)
    assert await claimed(store) == [one, three]
    row = {row.id: row for row in await store.read(queue.find, QueueFilter())}[two]
    assert (row.status, row.next_retry_at, row.claimed_by) == ("held", None, "")
    assert (row.last_error or "").startswith(f"this row cannot be read: {column} is {value!r}, which is no ")
    (problem,) = [line for line in await store.check() if line.startswith(f"Queue row {two}: ")]
    assert f"{column} is {value!r}, which is no " in problem
    (told,) = await store.scan(lambda tx: tx.rows("SELECT detail FROM message_events WHERE kind = 'held'"))
    assert json.loads(told[0])["text"] == row.last_error
    await store.write(lambda tx: tx.run(problem.partition("; ")[2].removesuffix(" mends it.")))
    assert [line for line in await store.check() if line.startswith("Queue row ")] == []
    await store.write(queue.release, QueueFilter(ids=(two,)))
    assert await store.write(adopt, 9) == 1


@pytest.mark.parametrize("many", [0, destinations.FEW + 1])
async def test_a_row_that_is_never_due_is_found_by_the_sweep(sqlite_store: Store, clock: Clock, many: int) -> None:
    store = sqlite_store
    first, late, odd, good = await put(store, "1@x", "2@x", "3@x", "4@x")
    await put(store, *(f"{n}@y" for n in range(many)))
    await by_hand(store, late, "next_retry_at", "soon")
    await by_hand(store, odd, "priority", "high")
    found = await claimed(store)
    assert {first, good} <= set(found) and not {late, odd} & set(found) and len(found) == many + 2
    while await store.write(destinations.sweep):
        pass
    rows = {row.id: row for row in await store.read(queue.find, QueueFilter(status="held"))}
    assert rows.keys() == {late, odd}
    assert "next_retry_at is 'soon'" in (rows[late].last_error or "")
    assert "priority is 'high'" in (rows[odd].last_error or "")
    await store.write(queue.delete, QueueFilter(status="held"))


async def test_addresses_that_cannot_be_routed(sqlite_store: Store) -> None:
    store = sqlite_store
    one, two, three = await put(store, "1@x", "2@x", "3@x", to="")
    await by_hand(store, one, "to_address", b"1@x")
    await by_hand(store, two, "from_address", b"\xff")
    assert await store.write(adopt, 9) == 3
    assert await claimed(store) == [three]
    assert {row.id for row in await store.read(queue.find, QueueFilter(status="held"))} == {one, two}
    assert any("SET to_address = CAST(to_address AS TEXT) WHERE id = 1 mends" in line for line in await store.check())
    await store.write(queue.delete, QueueFilter(status="held"))


async def test_what_is_found_in_a_healthy_queue(store: Store) -> None:
    (one,) = await put(store, "1@x")
    assert await store.scan(queue_aside.find) == []
    assert await store.write(queue_aside.set_aside, [one, 77]) == 0
    assert await claimed(store) == [one]


async def test_a_row_that_says_by_hand_that_it_is_being_sent_is_found_too(sqlite_store: Store) -> None:
    store = sqlite_store
    late, odd = await put(store, "1@x", "2@x")
    for column, value in (("status", "processing"), ("next_retry_at", "soon")):
        await by_hand(store, late, column, value)
    for column, value in (("status", "processing"), ("priority", "high")):
        await by_hand(store, odd, column, value)
    await store.write(queue_claim.free_dead, alive)
    while await store.write(destinations.sweep):
        pass
    rows = {row.id: row for row in await store.read(queue.find, QueueFilter())}
    assert rows[odd].status == "held" and "priority is 'high'" in (rows[odd].last_error or "")
    assert await claimed(store) == [late]
    await store.write(queue.delete, QueueFilter(status="held"))


async def test_the_story_tells_of_an_order_on_a_row_that_cannot_be_read(sqlite_store: Store) -> None:
    store = sqlite_store
    one, two = await put(store, "1@x", "2@x")
    await by_hand(store, two, "from_address", b"\xff")
    await by_hand(store, two, "to_address", b"\xff@x")
    assert await store.write(queue_orders.apply, "delete", QueueFilter(), "eve") == (2, {})
    told = await store.read(events.events_of_message, "1ABC")
    assert [(event.kind, event.queue_id, event.recipient) for event in told] == [
        ("deleted", one, "1@x"),
        ("deleted", two, ""),
    ]
