"""Claiming: who sends what. A destination is leased by one holder, its rows are claimed by the batch.

The lease of a row is its `next_retry_at`: it is put off by as long as the holder may take, so that what a crashed
holder had becomes due by itself. Every statement is a seek by an index, as cheap with a million rows as with one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pillarbox.store import destinations, queue_aside, queue_wishes
from pillarbox.store.destinations import COLUMNS, READY
from pillarbox.store.queue_rows import with_message
from pillarbox.store.queue_settle import CLAIMED, MOST, QUIT, UNSENT
from pillarbox.store.queue_wishes import CALLED as CALLED_BACK
from pillarbox.store.records import Destination, QueuedMessage, Unrouted
from pillarbox.store.text import storable
from pillarbox.store.tx import QUEUE, Row, Tx

_NEXT_UNROUTED = (
    "SELECT max(priority) FROM message_queue WHERE destination_id IS NULL "
    "AND priority < ? AND next_retry_at IS NOT NULL"
)
_UNROUTED = (
    "SELECT id, from_address, to_address, CASE WHEN moved = 1 THEN route_id END FROM message_queue "
    "WHERE destination_id IS NULL AND priority = ? AND next_retry_at IS NOT NULL ORDER BY next_retry_at LIMIT ?"
)
_ASSIGN = (
    "UPDATE message_queue SET destination_id = ?, route_id = ?, updated_at = ? "
    "WHERE id = ? AND destination_id IS NULL AND next_retry_at IS NOT NULL"
)
_READY_FIRST = f"SELECT {COLUMNS} FROM destinations WHERE due_at IS NOT NULL AND {READY} <= ? ORDER BY {READY} LIMIT ?"
_IF_READY = f"SELECT {COLUMNS} FROM destinations WHERE id = ? AND due_at IS NOT NULL AND {READY} <= ?"
_NEXT_READY = f"SELECT min({READY}) FROM destinations WHERE due_at IS NOT NULL"
_NEXT_URGENT = (
    "SELECT max(priority) FROM message_queue WHERE priority > 0 AND priority < ? AND next_retry_at IS NOT NULL"
)
_URGENT = (
    "SELECT destination_id FROM message_queue WHERE priority > 0 AND priority = ? AND next_retry_at <= ? "
    "AND destination_id IS NOT NULL ORDER BY next_retry_at LIMIT ?"
)
_DUE = (
    "SELECT id FROM message_queue WHERE destination_id = ? AND priority = ? AND next_retry_at <= ? "
    "ORDER BY next_retry_at LIMIT ?"
)
_CLAIM = (
    "UPDATE message_queue SET status = 'processing', claimed_by = ?, next_retry_at = ?, updated_at = ? "
    "WHERE next_retry_at <= ? AND "
)
_CLAIMED = (
    "SELECT q.id, q.message_key, q.from_address, q.to_address, q.prefix, q.blob_id, length(q.prefix) + b.size, "
    "q.priority, q.attempts, q.created_at, q.expires_at, q.route_id, q.user_id, q.via, q.notify, q.orcpt, q.ret, "
    "q.envid, q.body, q.smtputf8, q.deliver_by, q.deliver_mode, q.delay_reported_at, q.last_error, q.wish "
    "FROM message_queue q JOIN blobs b ON b.id = q.blob_id WHERE "
)
_PROLONG = f"UPDATE message_queue SET next_retry_at = ? WHERE {CLAIMED} AND claimed_by = ? AND "
_FREE = (
    f"UPDATE message_queue SET status = {UNSENT}, {QUIT}, "
    "next_retry_at = CASE WHEN attempts = 0 THEN created_at ELSE ? END WHERE status = 'processing' "
    "AND claimed_by = ? AND next_retry_at IS NOT NULL"
)
_LET_GO = f"UPDATE message_queue SET {QUIT} WHERE claimed_by = ? AND status <> 'processing' AND {CALLED_BACK}"
_HOLDERS = "SELECT DISTINCT claimed_by FROM message_queue WHERE status = 'processing'"


def unrouted(tx: Tx, limit: int) -> list[Unrouted]:
    """Rows that wait to be given a destination, the urgent ones first. May be fewer than there are."""
    found: list[Unrouted] = []
    for priority in destinations.down(tx, _NEXT_UNROUTED):
        found += [Unrouted(*row) for row in tx.rows(_UNROUTED, (priority, limit - len(found)))]
        if len(found) >= limit:
            break
    return found


def aside(tx: Tx, rows: Sequence[Unrouted]) -> list[Unrouted]:
    """Rows to be routed without those that cannot be read, which are held from now on."""
    bad = [row.id for row in rows if not (isinstance(row.sender, str) and isinstance(row.recipient, str))]
    queue_aside.set_aside(tx, bad)
    return [row for row in rows if row.id not in bad] if bad else list(rows)


def assign(tx: Tx, routed: Sequence[tuple[int, str, int | None]]) -> None:
    """Give rows (queue id, destination's name, route id or None) their destination.

    Rows that are gone, held, or were given one in the meantime stay as they are. A row that somebody wrote by hand
    with its message in `message_data` gets a blob; one without any message becomes a dead letter.
    """
    due_at = with_message(tx, [queue_id for queue_id, _, _ in routed])
    due: dict[str, int] = {}
    for queue_id, name, _ in routed:
        if queue_id in due_at:
            due[name] = min(due.get(name, due_at[queue_id]), due_at[queue_id])
    if due:
        ids = destinations.ensure(tx, due)
        rows = [(ids[name], route_id, tx.now, queue_id) for queue_id, name, route_id in routed if queue_id in due_at]
        tx.many(_ASSIGN, rows)
        tx.touch(*QUEUE)


def due_destinations(tx: Tx, holder: str, limit: int, lease_seconds: int) -> list[Destination]:
    """Lease up to `limit` destinations that are due, not blocked, and not held by another; with them as they were left.

    Those of rows with a priority above normal first, then by how long they are due.
    """
    lock = tx.locking("FOR NO KEY UPDATE SKIP LOCKED")
    found: dict[int, Destination] = {}
    for destination_id in _urgent(tx, limit):
        row = tx.row(_IF_READY + lock, (destination_id, tx.now))
        if row is not None and len(found) < limit:
            found[row[0]] = Destination(*row)
    if len(found) < limit:
        for row in tx.rows(_READY_FIRST + lock, (tx.now, limit)):
            if len(found) < limit:
                found[row[0]] = Destination(*row)
    if found:
        condition, values = tx.among("id", list(found))
        tx.run(
            f"UPDATE destinations SET holder = ?, held_until = ?, updated_at = ? WHERE {condition}",
            (holder, tx.now + lease_seconds, tx.now, values),
        )
    return list(found.values())


def _urgent(tx: Tx, limit: int) -> dict[int, None]:
    """Destinations of urgent rows that are due, most urgent first."""
    found: dict[int, None] = {}
    for priority in destinations.down(tx, _NEXT_URGENT):
        found.update((row[0], None) for row in tx.rows(_URGENT, (priority, tx.now, 4 * limit)))
        if len(found) >= limit:
            break
    return found


def claim(tx: Tx, destination_id: int, holder: str, limit: int, lease_seconds: int) -> list[QueuedMessage]:
    """Up to `limit` due rows of a destination, by priority, then by how long they are due. They are the holder's until
    they are settled (`queue_settle`) or the lease ends.
    """
    few = destinations.few_rows(tx, destination_id)
    if few is not None:
        due = sorted((-priority, due_at, queue_id) for priority, due_at, queue_id in few if due_at <= tx.now)
        ids = _free(tx, [queue_id for _, _, queue_id in due[:limit]])
    else:
        ids = _due(tx, destination_id, limit)
    return _take(tx, ids, holder, lease_seconds)


def _due(tx: Tx, destination_id: int, limit: int) -> list[int]:
    """The first due rows of a destination that has many; nobody else can take them."""
    due = _DUE + tx.locking("FOR UPDATE SKIP LOCKED")
    ids: list[int] = []
    for priority in destinations.priorities(tx, destination_id):
        ids += [row[0] for row in tx.rows(due, (destination_id, priority, tx.now, limit - len(ids)))]
        if len(ids) >= limit:
            break
    return ids


def _free(tx: Tx, ids: list[int]) -> list[int]:
    """Those of these due rows that nobody else is claiming just now; nobody can any more."""
    lock = tx.locking("FOR UPDATE SKIP LOCKED")
    if not lock or not ids:
        return ids
    condition, values = tx.among("id", ids)
    found = {
        row[0]
        for row in tx.rows(
            f"SELECT id FROM message_queue WHERE next_retry_at <= ? AND {condition}{lock}", (tx.now, values)
        )
    }
    return [queue_id for queue_id in ids if queue_id in found]


def claim_rows(tx: Tx, ids: Sequence[int], holder: str, lease_seconds: int) -> list[QueuedMessage]:
    """Those of these rows that are due, wherever they go; as `claim` otherwise."""
    condition, values = tx.among("id", ids)
    due = tx.rows(f"SELECT id FROM message_queue WHERE next_retry_at <= ? AND {condition}", (tx.now, values))
    return _take(tx, _free(tx, [row[0] for row in due]), holder, lease_seconds)


def _take(tx: Tx, ids: list[int], holder: str, lease_seconds: int) -> list[QueuedMessage]:
    """Claim these; on PostgreSQL they are locked."""
    if not ids:
        return []
    condition, values = tx.among("id", ids)
    tx.run(_CLAIM + condition, (holder, tx.now + lease_seconds, tx.now, tx.now, values))
    condition, values = tx.among("q.id", ids)
    found = tx.rows(_CLAIMED + condition, (values,))
    claimed = {row[0]: _message(row) for row in found if queue_aside.readable(row)}
    if len(claimed) < len(ids):
        queue_aside.set_aside(tx, [queue_id for queue_id in ids if queue_id not in claimed])
        with_message(tx, [queue_id for queue_id in ids if queue_id not in claimed])
    return [claimed[queue_id] for queue_id in ids if queue_id in claimed]


def _message(row: Row) -> QueuedMessage:
    values: list[Any] = [*row]
    values[19] = bool(row[19])  # smtputf8
    return QueuedMessage(*values)


def prolong(tx: Tx, holder: str, queue_ids: Sequence[int], destination_ids: Sequence[int], lease_seconds: int) -> None:
    """What is still the holder's is so for `lease_seconds` from now."""
    until = tx.now + lease_seconds
    if queue_ids:
        condition, values = tx.among("id", queue_ids)
        tx.run(_PROLONG + condition, (until, holder, values))
    if destination_ids:
        condition, values = tx.among("id", destination_ids)
        tx.run(f"UPDATE destinations SET held_until = ? WHERE holder = ? AND {condition}", (until, holder, values))


def next_due(tx: Tx) -> int | None:
    """When there is something to do: the first time at which a destination can be leased, 0 when rows wait to be
    routed. None: nothing is in the queue but what is held or dead.
    """
    if unrouted(tx, 1):
        return 0
    row = tx.row(_NEXT_READY)
    return row[0] if row else None


def leave(
    tx: Tx,
    destination_id: int,
    holder: str,
    *,
    failures: int,
    concurrency: int,
    blocked_until: int | None,
    last_error: str,
) -> None:
    """Give a destination back with what was learnt. Nothing happens when it is another's by now.

    One without rows is kept for a while (`destinations.sweep` removes it), so that what was learnt is found again.
    """
    mine = "SELECT 1 FROM destinations WHERE id = ? AND holder = ?" + tx.locking("FOR UPDATE")
    if tx.row(mine, (destination_id, holder)) is None:
        return
    due_at = destinations.true_due(tx, destination_id)
    tx.run(
        "UPDATE destinations SET due_at = ?, holder = '', held_until = 0, failures = ?, concurrency = ?, "
        "blocked_until = ?, last_error = ?, updated_at = ? WHERE id = ?",
        (due_at, failures, concurrency, blocked_until, storable(last_error, MOST), tx.now, destination_id),
    )
    if due_at is not None:
        tx.touch(*QUEUE)


def free_dead(tx: Tx, alive: Callable[[str], bool]) -> int:
    """What holders that are not `alive` had is due at once, and what was held in their hand in nobody's; how many rows
    and destinations."""
    freed = 0
    holders = {row[0] for row in tx.rows(_HOLDERS)} | queue_wishes.holders(tx)
    holders |= {row[0] for row in tx.rows("SELECT DISTINCT holder FROM destinations WHERE holder <> ''")}
    for holder in holders:
        if not alive(holder):
            freed += tx.run(_FREE, (tx.now, holder)) + tx.run(_LET_GO, (holder,))
            freed += tx.run("UPDATE destinations SET holder = '', held_until = 0 WHERE holder = ?", (holder,))
    if freed:
        tx.touch(*QUEUE)
    return freed
