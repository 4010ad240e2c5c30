"""The end of dead letters: what nobody looked after for long is removed, and its story says so."""

from __future__ import annotations

from pillarbox.store import queue, queue_settle
from pillarbox.store.events import add_events
from pillarbox.store.records import QueueFilter
from pillarbox.store.tx import Tx

from .story import entry

DAY = 86_400  # seconds
PAGE = 500  # rows removed in one transaction


def trim(tx: Tx, days: int) -> int:
    """Remove dead letters to which nothing happened for so many days, at most PAGE; how many. 0 keeps them for ever."""
    if not days:
        return 0
    rows = queue.find(tx, QueueFilter(ids=tuple(queue.dead_since(tx, tx.now - days * DAY, PAGE))), PAGE)
    queue_settle.remove(tx, [row.id for row in rows])
    told = f"a dead letter is kept for {days} days"
    events = [
        entry(
            tx.now,
            row.message_key,
            "forgotten",
            sender=row.from_address,
            recipient=row.to_address,
            queue_id=row.id,
            text=told,
        )
        for row in rows
        if row.message_key
    ]
    add_events(tx, events)
    return len(rows)
