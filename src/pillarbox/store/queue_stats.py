"""What an operator wants to know of the whole queue. Reads all of it: for `store.scan`."""

from __future__ import annotations

import msgspec

from pillarbox.store.queue import counts
from pillarbox.store.records import QueueCounts
from pillarbox.store.tx import Tx

_BY_DESTINATION = (
    "SELECT coalesce(d.name, ''), q.recipients, q.oldest, q.next_try, coalesce(d.failures, 0), "
    "coalesce(d.concurrency, 0), d.blocked_until, coalesce(d.last_error, '') FROM "
    "(SELECT destination_id, count(*) AS recipients, min(created_at) AS oldest, min(next_retry_at) AS next_try "
    "FROM message_queue WHERE next_retry_at IS NOT NULL GROUP BY destination_id) q "
    "LEFT JOIN destinations d ON d.id = q.destination_id ORDER BY q.recipients DESC, d.name LIMIT ?"
)


class Waiting(msgspec.Struct, frozen=True):
    """What waits for one destination; `name` "" waits to be routed. Times in seconds since 1970."""

    name: str
    recipients: int
    oldest_at: int
    next_try_at: int
    failures: int
    concurrency: int
    blocked_until: int | None
    last_error: str


class QueueStats(msgspec.Struct, frozen=True):
    counts: QueueCounts
    oldest_at: int | None
    destinations: list[Waiting]


def stats(tx: Tx, limit: int = 20) -> QueueStats:
    """Counts, and the destinations with the most recipients."""
    (oldest,) = tx.row("SELECT min(created_at) FROM message_queue WHERE next_retry_at IS NOT NULL") or (None,)
    return QueueStats(counts(tx), oldest, [Waiting(*row) for row in tx.rows(_BY_DESTINATION, (limit,))])
