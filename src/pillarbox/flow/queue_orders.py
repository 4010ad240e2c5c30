"""What an operator orders to be done with mail in the queue, and its mark in the story of each message.

    await carry_out(store, "hold", QueueFilter(domain="example.org"), "root")

A page of rows is changed in one transaction, so that a queue of a million never stands in one; the running server hears
of each commit. What is being sent just now is asked back from its sender (`store.queue_wishes`), and whoever gave the
order waits a little to hear what became of it: the message may be delivered. `give_back` needs no running server: it
makes the reports itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pillarbox.store import queue, queue_claim, queue_wishes, routes
from pillarbox.store.events import add_of_rows
from pillarbox.store.queue_wishes import Wish
from pillarbox.store.records import QueueFilter
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

from .message_id import MessageIds
from .owner import alive, this_process
from .sending.policy import Policy
from .sending.settle import settle
from .sending.verdict import Attempt, judge, overdue
from .story import entry

Order = Literal["hold", "release", "retry", "delete", "move"]
LEASE = 60  # seconds; the claim and its settling are one transaction
PATIENCE = 10.0  # seconds to wait for what is in transfer
_LOOKS = 0.05, 0.5  # seconds between two looks whether that is over: at first, at last

# What does it, and what the story calls it.
_CHANGES: dict[Order, tuple[Callable[..., int], str]] = {
    "hold": (queue.hold, "held"),
    "release": (queue.release, "released"),
    "retry": (queue.retry_now, "retried"),
    "delete": (queue.delete, "deleted"),
    "move": (queue.move, "moved"),
}


class Carried(NamedTuple):
    """How many rows were changed; how many had been delivered already; and of how many nobody knows yet: the order
    stands, unless the other server takes them."""

    changed: int = 0
    delivered: int = 0
    in_transfer: int = 0

    def said(self, done: str) -> str:
        """For people: "3 entries ..." of what was `done`, and what was not."""
        text = f"{_entries(self.changed)} {done}"
        if self.delivered:
            text += f"; {_entries(self.delivered)} delivered meanwhile"
        if self.in_transfer:
            text += f"; {_entries(self.in_transfer)} in transfer, to be {done} unless the other server takes it"
        return text


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


class Applied(NamedTuple):
    """Of one page. `asked`: rows that are in transfer, and the ids of their messages."""

    changed: int
    asked: Mapping[int, str] = {}


def meant_by(word: str) -> QueueFilter:
    """What an id means: the number of an entry, or the id of a message."""
    return QueueFilter(ids=(int(word),)) if word.isdecimal() else QueueFilter(message_key=word.upper())


async def carry_out(
    store: Store, order: Order, wanted: QueueFilter, operator: str, *args: Any, patience: float = PATIENCE
) -> Carried:
    """Do it to all rows that the filter means. `move` takes the id of a route, or None. Raises StoreError."""
    await store.write(queue_claim.free_dead, alive)
    done = [await store.write(apply, order, page, operator, args) async for page in queue.pages(store, wanted)]
    return await _outcome(store, done, patience)


async def give_back(
    store: Store, wanted: QueueFilter, operator: str, policy: Policy, *, patience: float = PATIENCE
) -> Carried:
    """Return messages to their senders with a report. Raises StoreError."""
    await store.write(queue_claim.free_dead, alive)
    names, done = MessageIds(), []
    async for page in queue.pages(store, wanted):
        ids = [names() for _ in page.ids or ()]
        done.append(await store.write(_give_back, page, operator, policy, ids, time.time()))
    return await _outcome(store, done, patience)


async def _outcome(store: Store, done: Sequence[Applied], patience: float) -> Carried:
    """What became of all that was asked back, as far as that is known in time."""
    asked = {row_id: key for one in done for row_id, key in one.asked.items()}
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + patience, _LOOKS[0]
    left = set(asked)
    while left:
        left = await store.scan(_left, sorted(left))
        if not left or loop.time() >= until:
            break
        await asyncio.sleep(min(pause, max(until - loop.time(), 0.001)))
        pause = min(2 * pause, _LOOKS[1])
    over = {row_id: key for row_id, key in asked.items() if row_id not in left}
    delivered = len(await store.scan(queue_wishes.delivered, over)) if over else 0
    return Carried(sum(one.changed for one in done) + len(over) - delivered, delivered, len(left))


def _left(tx: Tx, ids: Sequence[int]) -> set[int]:
    pages = (ids[at : at + queue.PAGE] for at in range(0, len(ids), queue.PAGE))
    return {row_id for page in pages for row_id in queue_wishes.left(tx, page)}


def apply(tx: Tx, order: Order, page: QueueFilter, operator: str, args: Sequence[Any] = ()) -> Applied:
    """A page of what `carry_out` does: at most `queue.PAGE` rows."""
    change, kind = _CHANGES[order]
    destination = _way(tx, args[0]) if order == "move" else ""
    asked: dict[int, str] = {}
    if order in ("hold", "delete", "move"):
        hands = queue_wishes.in_hand(tx, queue.find_ids(tx, page))
        if order == "delete":
            queue_wishes.ask(tx, list(hands), Wish(order, operator))
        elif order == "move":
            hands = _asked_to_move(tx, hands, args[0], Wish(order, operator, destination))
        asked = {row_id: hand.message_key for row_id, hand in hands.items()}
    ids = set(queue.concerned(tx, order, page))
    told = entry(time.time(), "", kind, operator=operator, destination=destination)
    changed = [0, 0]
    for at, some in enumerate((tuple(ids - asked.keys()), tuple(ids & asked.keys()))):
        if not some:
            continue
        if order == "delete":  # afterwards nobody knows whose they were
            add_of_rows(tx, some, told.at, kind, told.detail)
        changed[at] = change(tx, QueueFilter(ids=some), queue.PAGE, *args)
        if changed[at] and order != "delete":
            add_of_rows(tx, some, told.at, kind, told.detail)
    return Applied(changed[0], asked)


def _asked_to_move(
    tx: Tx, hands: Mapping[int, queue_wishes.Hand], route_id: int | None, wish: Wish
) -> dict[int, queue_wishes.Hand]:
    """Those that another route is new for; to be held is no wish, and is done at once."""
    holds = queue.holds(tx, route_id)
    moved = int(route_id is not None and not holds)
    other = {row_id: hand for row_id, hand in hands.items() if (hand.route_id, hand.moved) != (route_id, moved)}
    sending = [row_id for row_id, hand in other.items() if not hand.held]
    if holds:
        queue.hold(tx, QueueFilter(ids=tuple(sending)), len(sending))
    else:
        queue_wishes.ask_to_move(tx, sending, route_id, wish)
    return other


def _way(tx: Tx, route_id: int | None) -> str:
    route = routes.get(tx, route_id) if route_id is not None else None
    return f"route {route.name}" if route is not None else "where the rules say"


def _give_back(tx: Tx, page: QueueFilter, operator: str, policy: Policy, names: Sequence[str], at: float) -> Applied:
    holder = f"{this_process()}/operator"
    ids = queue.find_ids(tx, page)
    asked = queue_wishes.in_hand(tx, ids)
    queue_wishes.ask(tx, list(asked), Wish("bounce", operator))
    others = [row_id for row_id in ids if row_id not in asked]
    queue.bounce(tx, QueueFilter(ids=tuple(others)))
    judged = []
    for row in queue_claim.claim_rows(tx, others, holder, LEASE):
        outcome = overdue(row, int(at))
        if outcome is not None:
            attempt = Attempt(row, outcome, at, "mx", row.sender, tried=False)
            judged.append((attempt, judge(attempt, int(at), policy, 0.0)))
    if judged:
        settle(tx, judged, holder, policy, names, at)
    return Applied(len(judged), {row_id: hand.message_key for row_id, hand in asked.items()})
