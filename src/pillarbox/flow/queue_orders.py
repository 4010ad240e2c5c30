"""What an operator orders to be done with mail in the queue, and its mark in the story of each message.

    await carry_out(store, "hold", QueueFilter(domain="example.org"), "root")

A page of rows is changed in one transaction, so that a queue of a million never stands in one; the running server hears
of each commit. `give_back` needs no running server: it makes the reports itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pillarbox.store import queue, queue_claim, routes
from pillarbox.store.events import add_of_rows
from pillarbox.store.records import QueueFilter
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


# What does it, and what the story calls it.
_CHANGES: dict[Order, tuple[Callable[..., int], str]] = {
    "hold": (queue.hold, "held"),
    "release": (queue.release, "released"),
    "retry": (queue.retry_now, "retried"),
    "delete": (queue.delete, "deleted"),
    "move": (queue.move, "moved"),
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
    change, kind = _CHANGES[order]
    ids = tuple(queue.concerned(tx, order, page))
    if not ids:
        return 0
    told = entry(time.time(), "", kind, operator=operator, destination=_way(tx, args[0]) if order == "move" else "")
    if order == "delete":  # afterwards nobody knows whose they were
        add_of_rows(tx, ids, told.at, kind, told.detail)
    changed = change(tx, QueueFilter(ids=ids), queue.PAGE, *args)
    if changed and order != "delete":
        add_of_rows(tx, ids, told.at, kind, told.detail)
    return changed


def _way(tx: Tx, route_id: int | None) -> str:
    route = routes.get(tx, route_id) if route_id is not None else None
    return f"route {route.name}" if route is not None else "where the rules say"


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
