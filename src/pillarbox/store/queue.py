"""Looking at the queue and changing it by an operator's hand.

Rows are put there by `delivery.deliver`, and may vanish at any time. What changes many rows goes page by page: with
`in_pages`, whose pages are found by id in a reader's thread, or by calling a function until it says 0.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from pillarbox.store.addresses import domain_key
from pillarbox.store.errors import NotFound
from pillarbox.store.queue_settle import UNSENT
from pillarbox.store.queue_wishes import IN_HAND
from pillarbox.store.records import QueueCounts, QueueFilter, QueueRow
from pillarbox.store.store import Store
from pillarbox.store.tx import QUEUE, Tx

STATUSES = ("pending", "processing", "retry", "failed", "held")
PAGE = 1000  # rows changed in one transaction
ANOTHER_DAY = 24 * 3600  # seconds a dead letter has when it is tried again
BOUNCE = 0  # `expires_at` of a row that is to be returned to its sender

_COLUMNS = (
    "q.id, q.from_address, q.to_address, q.status, q.priority, q.attempts, q.max_retries, q.next_retry_at, "
    "q.created_at, q.updated_at, q.last_error, length(q.prefix) + coalesce(b.size, 0), q.message_key, "
    "coalesce(d.name, ''), q.route_id, q.user_id, q.via, q.blob_id, q.claimed_by, q.last_host, q.expires_at, "
    "q.not_before"
)
# Now, or when its sender wants it released (RFC 4865 section 4.1: not before).
_DUE = "CASE WHEN not_before > ? THEN not_before ELSE ? END"
# Rests no more. What somebody still sends is his claim again.
_AGAIN = (
    "status = CASE WHEN claimed_by = '' THEN {status} ELSE 'processing' END, "
    f"next_retry_at = CASE WHEN claimed_by = '' THEN {_DUE} ELSE ? END, "
    "destination_id = CASE WHEN claimed_by <> '' THEN destination_id END, wish = ''"
)
_FROM = "FROM message_queue q LEFT JOIN blobs b ON b.id = q.blob_id LEFT JOIN destinations d ON d.id = q.destination_id"


def counts(tx: Tx) -> QueueCounts:
    """Reads an index from one end to the other: for a thread, when the queue is long."""
    by_status: dict[str, int] = dict(tx.rows("SELECT status, count(*) FROM message_queue GROUP BY status"))
    return QueueCounts(sum(by_status.values()), *(by_status.get(status, 0) for status in STATUSES))


def page(tx: Tx, limit: int = 100, offset: int = 0, status: str | None = None) -> list[QueueRow]:
    """Rows in the order of their id."""
    where, values = ("WHERE q.status = ?", (status,)) if status else ("", ())
    rows = tx.rows(f"SELECT {_COLUMNS} {_FROM} {where} ORDER BY q.id LIMIT ? OFFSET ?", (*values, limit, offset))
    return [QueueRow(*row) for row in rows]


def find(tx: Tx, wanted: QueueFilter, limit: int = 100, after_id: int = 0) -> list[QueueRow]:
    """Rows that the filter means, in the order of their id, from after `after_id` on."""
    where, values = _conditions(tx, wanted)
    rows = tx.rows(
        f"SELECT {_COLUMNS} {_FROM} WHERE q.id > ? AND {where} ORDER BY q.id LIMIT ?", (after_id, *values, limit)
    )
    return [QueueRow(*row) for row in rows]


def find_ids(tx: Tx, wanted: QueueFilter, limit: int = PAGE, after_id: int = 0) -> list[int]:
    """As `find`, only the ids."""
    where, values = _conditions(tx, wanted)
    sql = f"SELECT q.id FROM message_queue q WHERE q.id > ? AND {where} ORDER BY q.id LIMIT ?"
    return [row[0] for row in tx.rows(sql, (after_id, *values, limit))]


def last_id(tx: Tx) -> int:
    """The highest id of a row, 0 when there is none."""
    row = tx.row("SELECT max(id) FROM message_queue")
    return int(row[0] or 0) if row is not None else 0


def dead_since(tx: Tx, before: int, limit: int) -> list[int]:
    """Dead letters to which nothing happened since `before`, at most `limit` ids, and nothing does before the end of
    the transaction (PostgreSQL). Reads all dead letters."""
    sql = "SELECT id FROM message_queue WHERE status = 'failed' AND updated_at < ? LIMIT ?"
    sql += tx.locking("FOR UPDATE SKIP LOCKED")
    return [row[0] for row in tx.rows(sql, (before, limit))]


def prefix_of(tx: Tx, queue_id: int) -> bytes:
    """What stands in front of the blob in this row's message. Raises NotFound."""
    row = tx.row("SELECT prefix FROM message_queue WHERE id = ?", (queue_id,))
    if row is None:
        raise NotFound(f"no queue entry {queue_id}")
    return bytes(row[0])


async def in_pages(store: Store, change: Callable[..., int], wanted: QueueFilter, *args: Any) -> int:
    """Do `change` (one of the functions below) to all rows that the filter means, a page in a transaction; how many.

    Raises StoreError; what was done by then stays done.
    """
    return sum([await store.write(change, page, PAGE, *args) async for page in pages(store, wanted)])


async def pages(store: Store, wanted: QueueFilter) -> AsyncIterator[QueueFilter]:
    """The same filter for a page of its rows after the other, by their ids. What comes meanwhile is not meant: reports
    on what is given back, above all. Raises StoreError."""
    last, end = 0, await store.scan(last_id)
    while last < end and (ids := await store.scan(find_ids, wanted, PAGE, last)):
        last = ids[-1]
        if meant := tuple(queue_id for queue_id in ids if queue_id <= end):
            yield msgspec.structs.replace(wanted, ids=meant)


# What can be changed by each order, as far as it can be seen before.
_CONCERNED = {
    "hold": "q.next_retry_at IS NOT NULL",
    "release": "q.status = 'held'",
    "retry": "q.status IN ('pending', 'retry', 'failed')",
    "delete": "q.claimed_by = ''",
    "move": "q.status <> 'processing'",
}


def concerned(tx: Tx, order: str, wanted: QueueFilter, limit: int = PAGE) -> list[int]:
    """At most `limit` ids of rows that the filter means and that an order of this name is about."""
    return _matching(tx, wanted, limit, _CONCERNED[order], ())


def hold(tx: Tx, wanted: QueueFilter, limit: int = PAGE) -> int:
    """They wait until they are released. One that is being sent just now may still be delivered: until its sender says
    what came of it, it stays in that hand.
    """
    held = "status = 'held', next_retry_at = NULL, wish = ''"
    if changed := _change(tx, wanted, limit, "q.next_retry_at IS NOT NULL", held):
        tx.touch(*QUEUE)  # whoever has one in hand puts it down
    return changed


def release(tx: Tx, wanted: QueueFilter, limit: int = PAGE) -> int:
    """Held rows are routed anew, and due at once, but not before their sender wants them released. Those that a rule
    held are not held by rules again: their route, of kind hold, counts as an operator's decision from now on.

    One that was being sent when it was held, and may be still, is its sender's claim again: another would send it
    twice.
    """
    by_rule = "route_id IN (SELECT id FROM routes WHERE kind = 'hold')"
    moved = f"moved = CASE WHEN {by_rule} THEN 1 ELSE moved END"
    changes = f"{_AGAIN.format(status=UNSENT)}, {moved}"
    return _change(tx, wanted, limit, "q.status = 'held'", changes, (tx.now, tx.now, tx.now + IN_HAND), due=True)


def retry_now(tx: Tx, wanted: QueueFilter, limit: int = PAGE) -> int:
    """Waiting rows are due at once, also where trouble at their destination is waited out. Dead letters are routed
    anew and have another day. Held rows, those being sent just now, and those whose sender wants them released later
    stay as they are.
    """
    blocked = "q.destination_id IN (SELECT id FROM destinations WHERE blocked_until > ?)"
    waiting = (
        f"q.status IN ('pending', 'retry') AND (q.next_retry_at > ? OR {blocked}) AND coalesce(q.not_before, 0) <= ?"
    )
    changed = _change(tx, wanted, limit, waiting, "next_retry_at = ?", (tx.now,), (tx.now, tx.now, tx.now), due=True)
    if changed < limit:
        again = _AGAIN.format(status="'retry'") + ", expires_at = ?"
        values = (tx.now, tx.now, tx.now + IN_HAND, tx.now + ANOTHER_DAY)
        changed += _change(tx, wanted, limit - changed, "q.status = 'failed'", again, values, due=True)
    return changed


def bounce(tx: Tx, wanted: QueueFilter, limit: int = PAGE) -> int:
    """Their senders get them back: they are due at once, with `expires_at` BOUNCE, which whoever claims them sees. Not
    those in somebody's hand: see `queue_wishes`.
    """
    sure = f"q.claimed_by = '' AND coalesce(q.expires_at, 1) <> {BOUNCE}"
    changes = (
        "status = 'retry', next_retry_at = ?, wish = '', "
        f"destination_id = CASE WHEN next_retry_at IS NULL THEN NULL ELSE destination_id END, expires_at = {BOUNCE}, "
        "not_before = NULL"
    )
    return _change(tx, wanted, limit, sure, changes, (tx.now,), due=True)


def delete(tx: Tx, wanted: QueueFilter, limit: int = PAGE) -> int:
    """They are gone, without a report. Not those in somebody's hand: see `queue_wishes`."""
    ids = _matching(tx, wanted, limit, "q.claimed_by = ''", ())
    condition, values = tx.among("id", ids)
    return tx.run(f"DELETE FROM message_queue WHERE claimed_by = '' AND {condition}", (values,)) if ids else 0


def move(tx: Tx, wanted: QueueFilter, limit: int, route_id: int | None) -> int:
    """They take this route from now on, or with None the one that the rules say. Held rows stay held, and a route of
    kind hold holds the others, as a rule for it would: once released they go where the other rules say.

    What was put off is due at once: it waited for another host. Rows that are being sent just now stay where they are.
    """
    if holds(tx, route_id):
        sure = "q.status <> 'processing' AND (q.status <> 'held' OR coalesce(q.route_id, 0) <> ?)"
        changes = "route_id = ?, moved = 0, destination_id = NULL, status = 'held', next_retry_at = NULL, wish = ''"
        return _change(tx, wanted, limit, sure, changes, (route_id,), (route_id,), due=True)
    sure = "q.status <> 'processing' AND (coalesce(q.route_id, 0) <> ? OR q.moved <> ?)"
    moved, wish = int(route_id is not None), (route_id or 0, int(route_id is not None))
    due = "CASE WHEN status = 'retry' AND next_retry_at > ? THEN ? ELSE next_retry_at END"
    changes = f"route_id = ?, moved = ?, destination_id = NULL, next_retry_at = {due}, wish = ''"
    return _change(tx, wanted, limit, sure, changes, (route_id, moved, tx.now, tx.now), wish, due=True)


def holds(tx: Tx, route_id: int | None) -> bool:
    """Whether this route is of kind hold."""
    sql = "SELECT 1 FROM routes WHERE id = ? AND kind = 'hold'"
    return route_id is not None and tx.row(sql, (route_id,)) is not None


def reroute(tx: Tx, wanted: QueueFilter, limit: int = PAGE) -> int:
    """Waiting rows are routed anew, because rules or routes changed; to be called with `in_pages`.

    Where an operator moved them they stay. Those that are being sent just now are not asked.
    """
    waiting = "q.status IN ('pending', 'retry') AND q.next_retry_at IS NOT NULL AND q.destination_id IS NOT NULL"
    changes = "destination_id = NULL, route_id = CASE WHEN moved = 1 THEN route_id END"
    return _change(tx, wanted, limit, waiting, changes, due=True)


def _change(
    tx: Tx,
    wanted: QueueFilter,
    limit: int,
    condition: str,
    changes: str,
    new: Sequence[object] = (),
    values: Sequence[object] = (),
    *,
    due: bool = False,
) -> int:
    """Update at most `limit` rows that the filter means and for which the condition (on `q`) holds; how many."""
    ids = _matching(tx, wanted, limit, condition, values)
    if not ids:
        return 0
    if due:
        _unblock(tx, ids)
    among, chosen = tx.among("q.id", ids)
    # Asked again: on PostgreSQL another may have claimed one in the meantime. (Not blocked any more by now.)
    unchanged = "q.status <> 'processing' AND " if due else ""
    changed = tx.run(
        f"UPDATE message_queue AS q SET {changes}, updated_at = ? WHERE {unchanged}{among}", (*new, tx.now, chosen)
    )
    if due:
        tx.touch(*QUEUE)
    return changed


def _matching(tx: Tx, wanted: QueueFilter, limit: int, condition: str, values: Sequence[object]) -> list[int]:
    where, given = _conditions(tx, wanted)
    sql = f"SELECT q.id FROM message_queue q WHERE {condition} AND {where} LIMIT ?"
    return [row[0] for row in tx.rows(sql, (*values, *given, limit))]


def _unblock(tx: Tx, ids: list[int]) -> None:
    condition, values = tx.among("id", ids)
    tx.run(
        "UPDATE destinations SET blocked_until = NULL WHERE blocked_until > ? AND id IN "
        f"(SELECT destination_id FROM message_queue WHERE {condition})",
        (tx.now, values),
    )


def _conditions(tx: Tx, wanted: QueueFilter) -> tuple[str, list[object]]:
    """A condition on `q` and its parameters."""
    parts: list[str] = ["1 = 1"]
    values: list[object] = []

    def add(condition: str, value: object) -> None:
        parts.append(condition)
        values.append(value)

    if wanted.ids is not None:
        add(*tx.among("q.id", wanted.ids))
    for column, value in (("status", wanted.status), ("user_id", wanted.user_id), ("message_key", wanted.message_key)):
        if value is not None:
            add(f"q.{column} = ?", value)
    for column, address in (("from_address", wanted.sender), ("to_address", wanted.recipient)):
        if address is not None:
            add(f"lower(q.{column}) = lower(?)", address)
    if wanted.domain is not None:
        key = domain_key(wanted.domain).replace("!", "!!").replace("%", "!%").replace("_", "!_")
        add("lower(q.to_address) LIKE ? ESCAPE '!'", "%@" + key)
    if wanted.destination is not None:
        add("q.destination_id = (SELECT id FROM destinations WHERE name = ?)", wanted.destination)
    if wanted.older_than is not None:
        add("q.created_at < ?", wanted.older_than)
    return " AND ".join(parts), values
