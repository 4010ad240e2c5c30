"""What the scheduler of the queue asks and notes beside claiming and settling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pillarbox.store.destinations import priorities
from pillarbox.store.queue_settle import CLAIMED
from pillarbox.store.tx import QUEUE, Tx

_DUE = (
    "SELECT 1 FROM message_queue WHERE destination_id = ? AND priority = ? AND next_retry_at <= ? "
    "ORDER BY next_retry_at LIMIT 1"
)
_LATER = (
    "SELECT id FROM message_queue WHERE destination_id = ? AND priority = ? AND next_retry_at > ? "
    "AND status = 'retry' AND next_retry_at <> created_at ORDER BY next_retry_at LIMIT ?"
)

_WAITING = (
    "SELECT id FROM message_queue WHERE destination_id = ? AND priority = ? AND next_retry_at IS NOT NULL "
    "ORDER BY next_retry_at LIMIT ?"
)


def is_due(tx: Tx, destination_id: int) -> bool:
    """Whether a row of a destination can be claimed now, however the destination is held."""
    return any(
        tx.row(_DUE, (destination_id, priority, tx.now)) is not None for priority in priorities(tx, destination_id)
    )


def blocked(tx: Tx) -> int:
    """How many destinations are left alone for now."""
    (count,) = tx.row("SELECT count(*) FROM destinations WHERE blocked_until > ?", (tx.now,)) or (0,)
    return int(count)


def to_be_sent(tx: Tx, ids: Sequence[int], holder: str) -> set[int]:
    """Those of `ids` that are still the holder's claim and that nobody wishes anything else for: an operator may have
    held or deleted them, or the lease may have ended.
    """
    condition, values = tx.among("id", ids)
    sql = f"SELECT id FROM message_queue WHERE {CLAIMED} AND claimed_by = ? AND wish = '' AND {condition}"
    return {row[0] for row in tx.rows(sql, (holder, values))}


def in_hand(tx: Tx, ids: Sequence[int], holder: str) -> dict[int, bool]:
    """Those of `ids` that are still in the queue, and whether they are in the holder's hand, held or not."""
    condition, values = tx.among("id", ids)
    rows = tx.rows(f"SELECT id, claimed_by FROM message_queue WHERE {condition}", (values,))
    return {id: claimed_by == holder for id, claimed_by in rows}


def hasten(tx: Tx, destination_id: int, limit: int, since: int) -> int:
    """The destination is back: rows that were put off are due now, the urgent first; how many (less than `limit`: all).

    They stand in line by their age, as if they had never been tried; so do those that became due after `since`. Rows
    that wait for a time of their sender's stay.
    """
    ids: list[int] = []
    for priority in priorities(tx, destination_id):
        ids += [row[0] for row in tx.rows(_LATER, (destination_id, priority, since, limit - len(ids)))]
        if len(ids) >= limit:
            break
    if ids:
        condition, values = tx.among("id", ids)
        # Asked again: on PostgreSQL one may have been claimed in the meantime, and its time is its lease.
        tx.run(f"UPDATE message_queue SET next_retry_at = created_at WHERE status = 'retry' AND {condition}", (values,))
        tx.touch(*QUEUE)
    return len(ids)


def unassign(tx: Tx, destination_id: int, limit: int = 1000) -> int:
    """Rows of a destination that nothing leads to any more wait to be routed again; how many."""
    ids = [
        row[0]
        for priority in priorities(tx, destination_id)
        for row in tx.rows(_WAITING, (destination_id, priority, limit))
    ][:limit]
    if ids:
        condition, values = tx.among("id", ids)
        tx.run(f"UPDATE message_queue SET destination_id = NULL, route_id = NULL WHERE {condition}", (values,))
        tx.touch(*QUEUE)
    return len(ids)


def note_retries(tx: Tx, ids: Sequence[int], most: int) -> None:
    """How many tries these will get in all, for people: age decides."""
    condition, values = tx.among("id", ids)
    tx.run(f"UPDATE message_queue SET max_retries = ? WHERE max_retries <> ? AND {condition}", (most, most, values))


def note_end(tx: Tx, ends: Iterable[tuple[int, int]]) -> None:
    """(id, expires_at): when these are given up, where that does not follow from their age."""
    tx.many("UPDATE message_queue SET expires_at = ? WHERE id = ?", [(at, id) for id, at in ends])
