"""Looking at the queue. Rows are put there by `delivery.deliver`, and may vanish by an operator's hand."""

from __future__ import annotations

from pillarbox.store.records import QueueCounts, QueueRow
from pillarbox.store.tx import Tx

STATUSES = ("pending", "processing", "retry", "failed")

_COLUMNS = (
    "q.id, q.from_address, q.to_address, q.status, q.priority, q.attempts, q.max_retries, q.next_retry_at, "
    "q.created_at, q.updated_at, q.last_error, length(q.prefix) + coalesce(b.size, 0)"
)


def counts(tx: Tx) -> QueueCounts:
    by_status: dict[str, int] = dict(tx.rows("SELECT status, count(*) FROM message_queue GROUP BY status"))
    return QueueCounts(sum(by_status.values()), *(by_status.get(status, 0) for status in STATUSES))


def page(tx: Tx, limit: int = 100, offset: int = 0, status: str | None = None) -> list[QueueRow]:
    """Rows in the order of their id."""
    where, values = ("WHERE q.status = ?", (status,)) if status else ("", ())
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM message_queue q LEFT JOIN blobs b ON b.id = q.blob_id {where} "
        "ORDER BY q.id LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    return [QueueRow(*row) for row in rows]
