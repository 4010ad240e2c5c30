"""What can be seen of the queue, and leases."""

from store_samples import Clock, message

from pillarbox.store import Store, leases, messages, queue
from pillarbox.store.records import Queued


async def test_counts_and_pages(store: Store, clock: Clock) -> None:
    plans = [Queued("a@example.com", f"r{number}@example.net", b"X: 1\r\n", number) for number in range(5)]
    outcomes = await store.write(messages.deliver, message(), plans)
    await store.write(
        lambda tx: [
            tx.run(
                "UPDATE message_queue SET status = ?, next_retry_at = ? WHERE id = ?",
                (status, due, outcomes[at].queue_id),
            )
            for at, (status, due) in enumerate((("processing", 1), ("retry", 1), ("failed", None)))
        ]
    )
    counts = await store.read(queue.counts)
    assert (counts.total, counts.pending, counts.processing, counts.retry, counts.failed) == (5, 2, 1, 1, 1)
    page = await store.read(queue.page, 2, 1)
    assert [(row.to_address, row.status) for row in page] == [("r1@example.net", "retry"), ("r2@example.net", "failed")]
    (row,) = await store.read(queue.page, 10, 0, "retry")
    assert (row.priority, row.created_at, row.attempts, row.max_retries) == (1, clock.now, 0, 34)
    assert row.size == message().analysis.size + 6


async def test_an_empty_queue(store: Store) -> None:
    assert (await store.read(queue.counts)).total == 0
    assert await store.read(queue.page) == []


async def test_a_row_written_by_hand_with_the_documented_columns_is_listed(store: Store) -> None:
    columns = "from_address, to_address, message_data, created_at"
    insert = f"INSERT INTO message_queue ({columns}) VALUES ('a@example.com', 'b@example.net', ?, 1)"
    await store.write(lambda tx: tx.run(insert, (b"x",)))
    (row,) = await store.read(queue.page)
    assert (row.from_address, row.to_address, row.status, row.created_at) == (
        "a@example.com", "b@example.net", "pending", 1,
    )  # fmt: skip
    await store.write(lambda tx: tx.run("DELETE FROM message_queue"))


async def test_a_lease_has_one_holder(store: Store, clock: Clock) -> None:
    assert await store.write(leases.acquire, "expiry", "one", 60)
    assert not await store.write(leases.acquire, "expiry", "two", 60)
    assert await store.write(leases.acquire, "other", "two", 60)
    clock.now += 59
    assert await store.write(leases.acquire, "expiry", "one", 60)
    clock.now += 59
    assert not await store.write(leases.acquire, "expiry", "two", 60)
    clock.now += 1
    assert await store.write(leases.acquire, "expiry", "two", 60)
    await store.write(leases.release, "expiry", "one")
    assert not await store.write(leases.acquire, "expiry", "one", 60)
    await store.write(leases.release, "expiry", "two")
    assert await store.write(leases.acquire, "expiry", "one", 60)
