"""/api/queue: what waits to be sent, and two things to do about it."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pillarbox.flow import queue_orders
from pillarbox.flow.queue_orders import Order
from pillarbox.flow.sending.policy import Policy, policy
from pillarbox.store import StoreError, Tx, queue_stats
from pillarbox.store import queue as mail_queue
from pillarbox.store.records import QueueCounts, QueueRow

from .answers import Action, Answer, BadRequest, Handler, Request, as_json, error, integer
from .figures import Figures
from .forgery import Guard

MOST = 1000  # entries of one answer
_OFFSETS = 2**62
_PATIENCE = 2.0  # seconds for what is in transfer
_BY_US = "api"  # who gave the order, in the story of a message
_ENTRY = r"/api/queue/([0-9]{1,18}|[0-9A-Za-z]{14}(?:[0-9A-Za-z]{3})?)"


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
            return _no_store(wrong)
        return as_json({**_counters(counts), "messages": [_entry(row, policy(figures.settings())) for row in rows]})

    async def stats(request: Request) -> Answer:
        limit = integer(request.query, "limit", 20, 1, MOST)
        try:
            found = await figures.store.scan(queue_stats.stats, limit)
        except StoreError as wrong:
            return _no_store(wrong)
        destinations = msgspec.to_builtins(found.destinations)
        return as_json({**_counters(found.counts), "oldest_at": found.oldest_at, "destinations": destinations})

    return {"/api/queue": queue, "/api/queue/stats": stats}


def actions(figures: Figures, guard: Guard) -> list[Action]:
    async def order(request: Request, word: str, what: Order, done: str) -> Answer:
        await guard.check(request)
        wanted = queue_orders.meant_by(word)
        try:
            if not await figures.store.scan(mail_queue.find_ids, wanted, 1):
                return error(404, f"nothing in the queue is {word}")
            carried = await queue_orders.carry_out(figures.store, what, wanted, _BY_US, patience=_PATIENCE)
        except StoreError as wrong:
            return _no_store(wrong)
        text = carried.said(done) if any(carried) else "nothing was to be done"
        return as_json({"success": True, "message": text})

    async def retry(request: Request, word: str) -> Answer:
        return await order(request, word, "retry", "due now")

    async def delete(request: Request, word: str) -> Answer:
        return await order(request, word, "delete", "deleted")

    return [
        Action("POST", re.compile(_ENTRY + "/retry"), retry),
        Action("DELETE", re.compile(_ENTRY), delete),
    ]


def _no_store(wrong: StoreError) -> Answer:
    return error(503, f"the database does not answer: {wrong}")


def _counters(counts: QueueCounts) -> dict[str, int]:
    return {
        "queue_size": counts.total,
        "total": counts.total,
        "pending": counts.pending,
        "processing": counts.processing,
        "retry": counts.retry,
        "failed": counts.failed,
        "held": counts.held,
    }


def _look(tx: Tx, limit: int, offset: int, status: str | None) -> tuple[QueueCounts, list[QueueRow]]:
    return mail_queue.counts(tx), mail_queue.page(tx, limit, offset, status)


def _entry(row: QueueRow, policy: Policy) -> dict[str, Any]:
    return {
        "id": row.id,
        "from_address": row.from_address,
        "to_address": row.to_address,
        "status": row.status,
        "priority": row.priority,
        "retry_count": row.attempts,
        "attempts": row.attempts,
        "max_retries": policy.retries_of(row.from_address),
        "next_retry_at": row.next_retry_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "last_error": row.last_error,
        "size": row.size,
        "message_id": row.message_key,
        "destination": row.destination,
    }
