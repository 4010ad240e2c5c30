"""/api/queue: what waits to be sent."""

from __future__ import annotations

from typing import Any

from pillarbox.store import StoreError, Tx
from pillarbox.store import queue as mail_queue
from pillarbox.store.records import QueueCounts, QueueRow

from .answers import Answer, BadRequest, Handler, Request, as_json, error, integer
from .figures import Figures

MOST = 1000  # entries of one answer
_OFFSETS = 2**62


def routes(figures: Figures) -> dict[str, Handler]:
    async def queue(request: Request) -> Answer:
        limit = integer(request.query, "limit", 100, 1, MOST)
        offset = integer(request.query, "offset", 0, 0, _OFFSETS)
        status = request.query.get("status")
        if status is not None and status not in mail_queue.STATUSES:
            raise BadRequest(f"status must be one of {', '.join(mail_queue.STATUSES)}")
        try:
            counts, rows = await figures.store.scan(_look, limit, offset, status)
        except StoreError as wrong:
            return error(503, f"the database does not answer: {wrong}")
        return as_json(
            {
                "queue_size": counts.total,
                "total": counts.total,
                "pending": counts.pending,
                "processing": counts.processing,
                "retry": counts.retry,
                "failed": counts.failed,
                "messages": [_entry(row) for row in rows],
            }
        )

    return {"/api/queue": queue}


def _look(tx: Tx, limit: int, offset: int, status: str | None) -> tuple[QueueCounts, list[QueueRow]]:
    return mail_queue.counts(tx), mail_queue.page(tx, limit, offset, status)


def _entry(row: QueueRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "from_address": row.from_address,
        "to_address": row.to_address,
        "status": row.status,
        "priority": row.priority,
        "retry_count": row.attempts,
        "attempts": row.attempts,
        "max_retries": row.max_retries,
        "next_retry_at": row.next_retry_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "last_error": row.last_error,
        "size": row.size,
    }
