"""Finding messages for `pillarbox trace`, figures of the queue, and marks of work that is done once."""

from __future__ import annotations

from store_samples import START, Clock, message, to

from pillarbox.store import Store, delivery, events, once, queue, queue_claim, queue_stats, tracing
from pillarbox.store.records import Event, Queued, QueueFilter, User

KEYS = [f"1M80JNJZZ1X80{n}" for n in range(5)]


async def filled(store: Store) -> None:
    told = [
        Event(1000 * n, key, "queued", "A@x.test", f"r{n}@y.test", n, f'{{"header_id":"<{n}_50%!@x.test>"}}')
        for n, key in enumerate(KEYS)
    ]
    await store.write(events.add_events, told)


async def test_messages_of_an_address(store: Store) -> None:
    await filled(store)
    assert await store.scan(tracing.keys_of_address, "a@X.test", 0) == KEYS[::-1]
    assert await store.scan(tracing.keys_of_address, "a@x.test", 0, 2) == KEYS[:2:-1]
    assert await store.scan(tracing.keys_of_address, "a@x.test", 3000) == KEYS[:2:-1]
    assert await store.scan(tracing.keys_of_address, "R1@y.test", 0) == [KEYS[1]]
    assert await store.scan(tracing.keys_of_address, "%", 0) == []


async def test_messages_of_a_message_id(store: Store) -> None:
    await filled(store)
    assert await store.scan(tracing.keys_of_header, "<1_50%!@x.test>", 0) == [KEYS[1]]
    assert await store.scan(tracing.keys_of_header, "<1_50%!@x.test>", 2000) == []
    for other in ("<1x50%!@x.test>", "<1_50!@x.test>", "<1_50%!@x.tes", '"', "%", "\\"):
        assert await store.scan(tracing.keys_of_header, other, 0) == []


async def test_where_it_is(store: Store, alice: User) -> None:
    (placed,) = await store.write(delivery.deliver, message(), [to(alice)])
    assert placed.mailbox_id is not None and placed.uid is not None
    found = await store.read(tracing.entry, placed.mailbox_id, placed.uid)
    assert found == tracing.Entry(alice.username, "INBOX", 1, ())
    assert await store.read(tracing.entry, placed.mailbox_id, 99) is None
    assert await store.scan(tracing.entries_of_header, "<none@x.test>") == []


async def test_figures_of_the_queue(store: Store, clock: Clock) -> None:
    assert (await store.scan(queue_stats.stats)).destinations == []
    plans = [Queued("a@x.test", f"{n}@y.test", destination="mx y.test") for n in range(3)]
    await store.write(delivery.deliver, message(), plans)
    clock.now += 60
    await store.write(delivery.deliver, message(), [Queued("a@x.test", "b@z.test")])
    await store.write(queue.hold, QueueFilter(recipient="0@y.test"))
    found = await store.scan(queue_stats.stats)
    assert (found.counts.total, found.counts.held, found.oldest_at) == (4, 1, START)
    waiting = [(each.name, each.recipients, each.oldest_at) for each in found.destinations]
    assert waiting == [("mx y.test", 2, START), ("", 1, START + 60)]


async def test_rows_claimed_by_their_ids(store: Store) -> None:
    plans = [Queued("a@x.test", f"{n}@y.test", destination="mx y.test") for n in range(3)]
    outcomes = await store.write(delivery.deliver, message(), plans)
    ids = [outcome.queue_id for outcome in outcomes if outcome.queue_id is not None]
    (first,) = await store.write(queue_claim.claim_rows, ids[:1], "host:1:1", 60)
    assert (first.id, first.recipient) == (ids[0], "0@y.test")
    rest = await store.write(queue_claim.claim_rows, ids, "host:2:2", 60)
    assert sorted(row.id for row in rest) == ids[1:]
    await store.write(queue.hold, QueueFilter())
    assert await store.write(queue_claim.claim_rows, ids, "host:3:3", 60) == []


async def test_the_prefix_of_a_row(store: Store) -> None:
    (outcome,) = await store.write(delivery.deliver, message(), [Queued("a@x.test", "b@y.test", b"Received: x\r\n")])
    assert outcome.queue_id is not None
    assert await store.read(queue.prefix_of, outcome.queue_id) == b"Received: x\r\n"


async def test_once(store: Store) -> None:
    assert await store.write(once.first_time, "a")
    assert not await store.write(once.first_time, "a")
    assert await store.write(once.first_time, "b")
    await store.write(once.forget, ["a", "never"])
    assert await store.write(once.first_time, "a")
    assert not await store.write(once.first_time, "b")
