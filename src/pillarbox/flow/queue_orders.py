"""What an operator orders to be done with mail in the queue, and its mark in the story of each message.

    await carry_out(store, "hold", QueueFilter(domain="example.org"), "root")

A page of rows is changed in one transaction, so that a queue of a million never stands in one; the running server hears
of each commit. `give_back` needs no running server: it makes the reports itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from pillarbox.store import queue, queue_claim, routes
from pillarbox.store.events import add_events
from pillarbox.store.records import QueueFilter, QueueRow
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

from .message_id import MessageIds
from .owner import this_process
from .sending.policy import Policy
from .sending.settle import settle
from .sending.verdict import Attempt, judge, overdue
from .story import entry

Order = Literal["hold", "release", "retry", "delete", "move"]
LEASE = 60  # seconds; the claim and its settling are one transaction


class _Change(NamedTuple):
    """`concerns`: the rows that the change means, as far as it can be seen before."""

    change: Callable[..., int]
    kind: str
    concerns: Callable[[QueueRow], bool]


_CHANGES: dict[Order, _Change] = {
    "hold": _Change(queue.hold, "held", lambda row: row.next_retry_at is not None),
    "release": _Change(queue.release, "released", lambda row: row.status == "held"),
    "retry": _Change(queue.retry_now, "retried", lambda row: row.status in ("pending", "retry", "failed")),
    "delete": _Change(queue.delete, "deleted", lambda row: True),
    "move": _Change(queue.move, "moved", lambda row: row.status != "processing"),
}


def meant_by(word: str) -> QueueFilter:
    """What an id means: the number of an entry, or the id of a message."""
    return QueueFilter(ids=(int(word),)) if word.isdecimal() else QueueFilter(message_key=word.upper())


async def carry_out(store: Store, order: Order, wanted: QueueFilter, operator: str, *args: Any) -> int:
    """Do it to all rows that the filter means; how many were changed. `move` takes the id of a route, or None."""
    return sum([await store.write(apply, order, page, operator, args) async for page in queue.pages(store, wanted)])


async def give_back(store: Store, wanted: QueueFilter, operator: str, policy: Policy) -> int:
    """Return messages to their senders with a report; how many rows. What is being sent just now is left alone."""
    names, done = MessageIds(), 0
    async for page in queue.pages(store, wanted):
        done += await store.write(_give_back, page, operator, policy, [names() for _ in page.ids or ()], time.time())
    return done


def apply(tx: Tx, order: Order, page: QueueFilter, operator: str, args: Sequence[Any] = ()) -> int:
    """A page of what `carry_out` does: at most `queue.PAGE` rows; how many were changed."""
    change = _CHANGES[order]
    rows = [row for row in queue.find(tx, page, queue.PAGE) if change.concerns(row)]
    if not rows:
        return 0
    changed = change.change(tx, msgspec.structs.replace(page, ids=tuple(row.id for row in rows)), queue.PAGE, *args)
    if changed:
        _note(tx, change.kind, rows, operator, _way(tx, args[0]) if order == "move" else "")
    return changed


def _way(tx: Tx, route_id: int | None) -> str:
    route = routes.get(tx, route_id) if route_id is not None else None
    return f"route {route.name}" if route is not None else "where the rules say"


def _note(tx: Tx, kind: str, rows: Sequence[QueueRow], operator: str, destination: str) -> None:
    add_events(
        tx,
        [
            entry(
                time.time(),
                row.message_key,
                kind,
                sender=row.from_address,
                recipient=row.to_address,
                queue_id=row.id,
                operator=operator,
                destination=destination,
            )
            for row in rows
            if row.message_key
        ],
    )


def _give_back(tx: Tx, page: QueueFilter, operator: str, policy: Policy, names: Sequence[str], at: float) -> int:
    holder = f"{this_process()}/operator"
    queue.bounce(tx, page)
    rows = queue_claim.claim_rows(tx, page.ids or (), holder, LEASE)
    judged = []
    for row in rows:
        outcome = overdue(row, int(at))
        if outcome is not None:
            attempt = Attempt(row, outcome, at, "mx", row.sender, tried=False)
            judged.append((attempt, judge(attempt, int(at), policy, 0.0)))
    if judged:
        settle(tx, judged, holder, policy, names, at)
    return len(judged)
