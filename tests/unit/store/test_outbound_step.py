"""Schema step 3 between two programs: the older one's rows are sent, and what is held is not sent by going back."""

from store_samples import Clock, message

from pillarbox.store import Store, Tx, destinations, messages, migrate, open_store, queue, queue_claim
from pillarbox.store.opening import is_postgres
from pillarbox.store.records import Queued, QueueFilter
from pillarbox.store.sqlite_setup import rollback

OF_THE_OLDER_PROGRAM = (
    "INSERT INTO message_queue "
    "(from_address, to_address, priority, created_at, updated_at, next_retry_at, blob_id, prefix) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


def take_back(target: str) -> None:
    if is_postgres(target):
        from pillarbox.store.postgres import rollback_postgres

        rollback_postgres(target, 2)
    else:
        rollback(target, 2)


async def test_rows_of_the_older_program_are_routed_and_sent(store: Store, clock: Clock) -> None:
    def older(tx: Tx) -> int:
        messages.deliver(tx, message(), [Queued("x@y.z", "first@e.f")])
        (blob,) = tx.row("SELECT max(id) FROM blobs") or (0,)
        now = tx.now
        return tx.insert(OF_THE_OLDER_PROGRAM, ("a@b.c", "d@e.f", 0, now, now, now, blob, b"X: 1\r\n"))

    queue_id = await store.write(older)
    waiting = [row.id for row in await store.read(queue_claim.unrouted, 10)]
    assert queue_id in waiting
    await store.write(queue_claim.assign, [(id, "mx e.f", None) for id in waiting])
    (destination,) = await store.write(queue_claim.due_destinations, "me", 10, 60)
    rows = await store.write(queue_claim.claim, destination.id, "me", 10, 60)
    assert (rows[-1].id, rows[-1].prefix, rows[-1].message_key) == (queue_id, b"X: 1\r\n", "")


async def test_back_and_forth_with_a_queue(target: str, clock: Clock) -> None:
    migrate(target, clock=clock)
    store = await open_store(target, clock=clock)
    plans = [Queued("a@b.c", f"{name}@e.f", destination="mx e.f") for name in ("waits", "claimed", "held", "late")]
    plans[3] = Queued("a@b.c", "late@e.f", destination="mx e.f", not_before=clock.now + 900)
    ids = [outcome.queue_id or 0 for outcome in await store.write(messages.deliver, message(), plans)]
    await store.write(queue.hold, QueueFilter(ids=(ids[2],)))
    await store.write(queue_claim.due_destinations, "me", 1, 60)
    await store.write(queue.hold, QueueFilter(ids=(ids[0],)))
    assert [row.id for row in await store.write(queue_claim.claim, 1, "me", 9, 60)] == [ids[1]]
    await store.write(queue.release, QueueFilter(ids=(ids[0],)))
    await store.close()
    take_back(target)
    migrate(target, clock=clock)
    store = await open_store(target, clock=clock)
    rows = {row.id: row for row in await store.read(queue.find, QueueFilter())}
    assert [rows[id].status for id in ids] == ["pending", "retry", "failed", "pending"]
    assert [rows[id].next_retry_at for id in ids] == [clock.now, clock.now + 60, None, clock.now + 900]
    await store.write(destinations.sweep)
    assert {row.id for row in await store.read(queue_claim.unrouted, 10)} == {ids[0], ids[1], ids[3]}
    assert await store.check() == []
    await store.close()
