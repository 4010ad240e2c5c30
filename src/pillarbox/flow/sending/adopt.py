"""Rows without a destination get one: those of an older program, written by hand, or put back by a change of routes."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.store import queue, queue_claim, queue_settle, routes
from pillarbox.store.events import Event, add_events
from pillarbox.store.records import QueueFilter, Unrouted
from pillarbox.store.tx import Tx

from ..destination import Decision, Destinations, name_of
from ..story import entry

PAGE = 200  # rows of one transaction


def adopt(tx: Tx, at: float, limit: int = PAGE) -> int:
    """Route up to `limit` rows; how many were looked at. `at`: epoch seconds, for the story."""
    rows = queue_claim.unrouted(tx, limit)
    by_sender: dict[str, Destinations] = {}
    routed: list[tuple[int, str, int | None]] = []
    held: list[Unrouted] = []
    discarded: list[Unrouted] = []
    for row in rows:
        decision = _decide(tx, row, by_sender)
        if decision.action == "discard":
            discarded.append(row)
            continue
        routed.append((row.id, decision.name, decision.route_id))
        if decision.action == "hold":
            held.append(row)
    queue_claim.assign(tx, routed)
    if held:
        queue.hold(tx, QueueFilter(ids=tuple(row.id for row in held)), len(held))
    queue_settle.remove(tx, [row.id for row in discarded])
    add_events(tx, [*_events(at, "held", held), *_events(at, "deleted", discarded, by="a route that discards")])
    return len(rows)


def _decide(tx: Tx, row: Unrouted, by_sender: dict[str, Destinations]) -> Decision:
    """An operator's choice of a route for this row comes before the rules."""
    if row.route_id is not None and (route := routes.get(tx, row.route_id)) is not None:
        domain = row.recipient.rpartition("@")[2].lower()
        if route.kind not in ("hold", "discard"):
            return Decision(name_of(route.id, route.kind, domain), route.id, "an operator chose it")
    destinations = by_sender.get(row.sender)
    if destinations is None:
        destinations = by_sender[row.sender] = Destinations(tx, row.sender)
    return destinations.of(row.recipient)


def _events(at: float, kind: str, rows: Sequence[Unrouted], **detail: str) -> list[Event]:
    return [entry(at, "", kind, sender=row.sender, recipient=row.recipient, queue_id=row.id, **detail) for row in rows]
