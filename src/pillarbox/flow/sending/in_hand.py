"""Rows in hand, looked at again before they are sent.

Behind a slow server a claim may wait for minutes, and an operator may have held, moved or deleted its row meanwhile.
"""

from __future__ import annotations

import structlog

from pillarbox.store import StoreError, queue_settle, queue_upkeep

from .batch import Load, load
from .parts import Parts
from .stock import Stock

log = structlog.get_logger()

STALE = 1.0  # seconds after which a claim is looked at again


async def still_ours(parts: Parts, stock: Stock, parcel: Load) -> Load | None:
    """What of a parcel is to be sent."""
    claimed = stock.rows
    rows = [row for row in parcel.rows if row.id in claimed]
    if rows and parts.loop.time() - min(claimed[row.id] for row in rows) >= STALE:
        try:
            ours = await parts.store.read(queue_upkeep.claimed, [row.id for row in rows], parts.holder)
        except StoreError as error:
            log.debug("The queue cannot be looked at: %s", error)
        else:
            await _let_go(parts, stock, [row.id for row in rows if not ours.get(row.id)])
            rows = [row for row in rows if ours.get(row.id)]
    if len(rows) == len(parcel.rows):
        return parcel
    left = load(rows) if rows else None
    content = parcel.parcel.content
    return left.having(content) if left is not None and content is not None else left


async def _let_go(parts: Parts, stock: Stock, ids: list[int]) -> None:
    """They are not sent after all. What was held, and even released again meanwhile, is in nobody's hand then."""
    for row_id in ids:
        stock.forget(row_id)
    if ids:
        try:
            await parts.store.write(queue_settle.give_back, parts.holder, ids)
        except StoreError as error:
            log.debug("Rows are not let go, their lease must end: %s", error)
