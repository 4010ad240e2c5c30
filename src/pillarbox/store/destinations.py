"""Destinations: one row for each next hop that the queue has rows for, and when it is due.

`due_at` is never later than the least `next_retry_at` of the rows that wait there, whoever wrote them: the database's
own triggers lower it. Only `queue_claim.leave` and `sweep` raise it, and on PostgreSQL they lock the destination
against everybody who is just putting a row there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pillarbox.store import queue_aside
from pillarbox.store.records import Destination
from pillarbox.store.tx import QUEUE, Tx

IDLE = 3600  # seconds a destination without rows is kept for what was learnt of it
_AT_ONCE = 1000  # rows of a destination and a priority that are changed in one step
FEW = 50  # rows of a destination that are looked at one by one
# What waits longer was put off by a clock that ran ahead: longer than any setting lets a row, or a whole destination.
MOST_PUT_OFF = 9 * 24 * 3600
MOST_BLOCKED = 2 * 24 * 3600
_ABOVE = 2**31  # above every priority
_HAND = (str, bytes)  # what stands in a column of numbers only by somebody's hand (SQLite)

# When it can be leased next. The text is that of the index (step 3 of the schema), or the index is not found.
READY = (
    "CASE WHEN held_until > due_at AND held_until >= coalesce(blocked_until, 0) THEN held_until "
    "WHEN coalesce(blocked_until, 0) > due_at THEN blocked_until ELSE due_at END"
)
COLUMNS = "id, name, due_at, holder, held_until, failures, concurrency, blocked_until, last_error"

_BY_NAME = "SELECT id, due_at FROM destinations WHERE name = ?"
# Well as far as anybody knows, and nothing of this priority waits there for whoever has it.
_AT_EASE = (
    "SELECT d.id FROM destinations d WHERE d.name = ? AND d.failures = 0 AND d.blocked_until IS NULL AND NOT EXISTS "
    "(SELECT 1 FROM message_queue q WHERE q.destination_id = d.id AND q.priority = ? AND q.next_retry_at <= ?)"
)
_INSERT = "INSERT INTO destinations (name, due_at, updated_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING"
_LOWER = "UPDATE destinations SET due_at = ? WHERE id = ? AND (due_at IS NULL OR due_at > ?)"

_SWEPT = "SELECT value FROM store_counters WHERE name = 'queue_sweep'"
_ORPHANS = "UPDATE message_queue SET destination_id = NULL WHERE destination_id = ? AND next_retry_at IS NOT NULL"
_NEXT_IN_QUEUE = "SELECT min(destination_id) FROM message_queue WHERE destination_id > ? AND next_retry_at IS NOT NULL"
_STRAY = (
    "SELECT id FROM message_queue WHERE next_retry_at IS NULL AND status IN ('pending', 'processing', 'retry') LIMIT ?"
)

_ROWS = "FROM message_queue WHERE destination_id = ? AND next_retry_at IS NOT NULL"
# In the order of the index, or PostgreSQL reads the table from its beginning, where all that is gone was.
_FEW = f"SELECT priority, next_retry_at, id {_ROWS} ORDER BY priority, next_retry_at LIMIT ?"
_NEXT_PRIORITY = (
    "SELECT max(priority) FROM message_queue WHERE destination_id = ? AND priority < ? AND next_retry_at IS NOT NULL"
)
# Not what its sender wants released later. By the index of what is due, not by that of the status.
_UNTIL_THE_CLOCK_WAS_SET = (
    "SELECT id FROM message_queue WHERE destination_id = ? AND priority = ? AND next_retry_at > ? "
    "AND next_retry_at IS NOT NULL AND status || '' IN ('pending', 'retry') "
    "AND (attempts > 0 OR (not_before IS NULL AND created_at > ?)) LIMIT ?"
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


def at_ease(tx: Tx, name: str, priority: int) -> int | None:
    """The id of a destination that is well, and where nothing of this priority is due; else None."""
    row = tx.row(_AT_EASE, (name, priority, tx.now))
    return None if row is None else int(row[0])


def named(tx: Tx, name: str) -> Destination | None:
    row = tx.row(f"SELECT {COLUMNS} FROM destinations WHERE name = ?", (name,))
    return None if row is None else Destination(*row)


def get(tx: Tx, destination_id: int) -> Destination | None:
    row = tx.row(f"SELECT {COLUMNS} FROM destinations WHERE id = ?", (destination_id,))
    return None if row is None else Destination(*row)


def page(tx: Tx, limit: int = 100, after_id: int = 0) -> list[Destination]:
    """Destinations in the order of their id, for an operator to look at."""
    rows = tx.rows(f"SELECT {COLUMNS} FROM destinations WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit))
    return [Destination(*row) for row in rows]


def few_rows(tx: Tx, destination_id: int) -> list[tuple[int, int, int]] | None:
    """Priority, `next_retry_at` and id of all its rows, by one look into the index; None when there are many."""
    rows = tx.rows(_FEW, (destination_id, FEW + 1))
    if len(rows) > FEW:
        return None
    # A text by somebody's hand is held by the next sweep.
    return [(at, due, id) for at, due, id in rows if not isinstance(at, _HAND) and not isinstance(due, _HAND)]


def true_due(tx: Tx, destination_id: int) -> int | None:
    """The least `next_retry_at` of its rows: where there are many, two seeks for each priority there is."""
    if (few := few_rows(tx, destination_id)) is not None:
        return min((due_at for _, due_at, _ in few), default=None)
    least: int | None = None
    for priority in priorities(tx, destination_id):
        (due_at,) = tx.row(_FIRST_DUE, (destination_id, priority)) or (None,)
        if due_at is not None and not isinstance(due_at, _HAND) and (least is None or due_at < least):
            least = due_at
    return least


def priorities(tx: Tx, destination_id: int) -> Iterator[int]:
    """The priorities of its rows, from the highest on."""
    return down(tx, _NEXT_PRIORITY, destination_id)


def down(tx: Tx, sql: str, *values: int) -> Iterator[int]:
    """The priorities that rows have, from the highest on: a seek for each. The statement takes the last one."""
    priority = _ABOVE
    while (row := tx.row(sql, (*values, priority))) is not None and row[0] is not None:
        priority = row[0]
        yield priority


def sweep(tx: Tx, look: int = 200) -> int:
    """One small step of looking through all destinations and mending what came from outside; 0 when it is through.

    A destination is due when its first row is; rows of one that is not there are routed again; one that nothing was
    queued for since an hour is removed; rows that were written by hand without a time are due; a clock that ran ahead
    keeps nobody waiting when it has been set. To be called again and again, slowly.
    """
    (after,) = tx.row(_SWEPT) or (0,)
    mended = _find_strays(tx, look) + queue_aside.sweep(tx, look) if after == 0 else 0
    seen = 0
    while seen < look:
        at = _next_id(tx, after)
        if at is None:
            after = 0
            break
        after, seen = at, seen + 1
        mended += _mend(tx, after)
    tx.run("UPDATE store_counters SET value = ? WHERE name = 'queue_sweep'", (after,))
    if mended:
        tx.touch(*QUEUE)
    return seen if after else 0


def _next_id(tx: Tx, after: int) -> int | None:
    """The next destination that is there or that a waiting row refers to."""
    there = tx.row("SELECT min(id) FROM destinations WHERE id > ?", (after,)) or (None,)
    wanted = tx.row(_NEXT_IN_QUEUE, (after,)) or (None,)
    return min((found for found in (there[0], wanted[0]) if found is not None), default=None)


def _mend(tx: Tx, destination_id: int) -> int:
    row = tx.row(
        "SELECT due_at, holder, updated_at, held_until, blocked_until FROM destinations WHERE id = ?"
        + tx.locking("FOR UPDATE SKIP LOCKED"),
        (destination_id,),
    )
    if row is None:
        if tx.row("SELECT 1 FROM destinations WHERE id = ?", (destination_id,)) is None:
            return tx.run(_ORPHANS, (destination_id,))
        return 0  # somebody is at work there
    due_at, holder, updated_at, *waits = row
    ended = _end_waits(tx, destination_id, *waits)
    truth = true_due(tx, destination_id)
    if truth is None:
        if not holder and updated_at <= tx.now - IDLE:
            tx.run("DELETE FROM destinations WHERE id = ?", (destination_id,))
    elif due_at is None or due_at > truth:
        return tx.run(_LOWER, (truth, destination_id, truth)) + ended
    return ended


def _end_waits(tx: Tx, destination_id: int, held_until: int, blocked_until: int | None) -> int:
    """End what no clock that is right would have begun; how much of it there was. Nothing is older or younger for it:
    perhaps it is this clock that is wrong."""
    ended = 0
    if max(held_until, blocked_until or 0) > tx.now + MOST_BLOCKED:
        sql = "UPDATE destinations SET held_until = 0, blocked_until = NULL WHERE id = ?"
        ended += tx.run(sql, (destination_id,))
    far = tx.now + MOST_PUT_OFF
    for priority in priorities(tx, destination_id):
        ids = [row[0] for row in tx.rows(_UNTIL_THE_CLOCK_WAS_SET, (destination_id, priority, far, far, _AT_ONCE))]
        if ids:
            condition, values = tx.among("id", ids)
            sql = (
                f"UPDATE message_queue SET next_retry_at = ? WHERE {condition} AND status || '' IN ('pending', 'retry')"
            )
            ended += tx.run(sql, (tx.now, values))
    return ended


def _find_strays(tx: Tx, limit: int) -> int:
    """Rows nobody would ever look at: they say that they wait, but not until when."""
    ids = [row[0] for row in tx.rows(_STRAY, (limit,))]
    if not ids:
        return 0
    condition, values = tx.among("id", ids)
    return tx.run(
        "UPDATE message_queue SET status = 'pending', destination_id = NULL, claimed_by = '', "
        "next_retry_at = CASE WHEN not_before > ? THEN not_before ELSE ? END "
        f"WHERE next_retry_at IS NULL AND status <> 'held' AND status <> 'failed' AND {condition}",
        (tx.now, tx.now, values),
    )
