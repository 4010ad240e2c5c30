"""Destinations: one row for each next hop that the queue has rows for, and when it is due.

`due_at` is never later than the least `next_retry_at` of the rows that wait there, whoever wrote them: the database's
own triggers lower it. Only `queue_claim.leave` and `sweep` raise it, and on PostgreSQL they lock the destination
against everybody who is just putting a row there.
"""

from __future__ import annotations

from collections.abc import Mapping

from pillarbox.store.records import Destination
from pillarbox.store.tx import Tx

IDLE = 3600  # seconds a destination without rows is kept for what was learnt of it
ABOVE = 2**31  # above every priority

# When it can be leased next. The text is that of the index (step 3 of the schema), or the index is not found.
READY = (
    "CASE WHEN held_until > due_at AND held_until >= coalesce(blocked_until, 0) THEN held_until "
    "WHEN coalesce(blocked_until, 0) > due_at THEN blocked_until ELSE due_at END"
)
COLUMNS = "id, name, due_at, holder, held_until, failures, concurrency, blocked_until, last_error"

_BY_NAME = "SELECT id, due_at FROM destinations WHERE name = ?"
_INSERT = "INSERT INTO destinations (name, due_at, updated_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING"
_LOWER = "UPDATE destinations SET due_at = ? WHERE id = ? AND (due_at IS NULL OR due_at > ?)"

_NEXT_PRIORITY = (
    "SELECT max(priority) FROM message_queue WHERE destination_id = ? AND priority < ? AND next_retry_at IS NOT NULL"
)
_FIRST_DUE = (
    "SELECT min(next_retry_at) FROM message_queue "
    "WHERE destination_id = ? AND priority = ? AND next_retry_at IS NOT NULL"
)


def ensure(tx: Tx, due: Mapping[str, int]) -> dict[str, int]:
    """The ids of destinations by name, made where they are missing; each is due at that time at the latest.

    Names in their order, so that two of them lock in the same order (PostgreSQL).
    """
    found = {}
    sql = _BY_NAME + tx.locking("FOR KEY SHARE")
    for name in sorted(due):
        due_at = due[name]
        while (row := tx.row(sql, (name,))) is None:
            tx.run(_INSERT, (name, due_at, tx.now))
        found[name] = row[0]
        if row[1] is None or row[1] > due_at:
            tx.run(_LOWER, (due_at, row[0], due_at))
    return found


def get(tx: Tx, destination_id: int) -> Destination | None:
    row = tx.row(f"SELECT {COLUMNS} FROM destinations WHERE id = ?", (destination_id,))
    return None if row is None else Destination(*row)


def page(tx: Tx, limit: int = 100, after_id: int = 0) -> list[Destination]:
    """Destinations in the order of their id, for an operator to look at."""
    rows = tx.rows(f"SELECT {COLUMNS} FROM destinations WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit))
    return [Destination(*row) for row in rows]


def true_due(tx: Tx, destination_id: int) -> int | None:
    """The least `next_retry_at` of its rows: one seek for each priority there is."""
    least: int | None = None
    priority = ABOVE
    while (row := tx.row(_NEXT_PRIORITY, (destination_id, priority))) and row[0] is not None:
        priority = row[0]
        (due_at,) = tx.row(_FIRST_DUE, (destination_id, priority)) or (None,)
        if due_at is not None and (least is None or due_at < least):
            least = due_at
    return least
