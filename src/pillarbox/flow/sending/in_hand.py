"""Rows in hand, looked at again before they are sent.

Behind a slow server a claim may wait for minutes, and an operator may have held, moved or deleted its row meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from pillarbox.store import StoreError, queue_upkeep

from .batch import Load

if TYPE_CHECKING:
    from .run import Run

log = structlog.get_logger()

STALE = 1.0  # seconds after which a claim is looked at again


async def still_ours(run: Run, parcel: Load) -> Load | None:
    """What of a parcel is to be sent."""
    parts, claimed = run.parts, run.stock.rows
    settled = [row.id for row in parcel.rows if row.id not in claimed]
    left = parcel.without(settled) if settled else parcel
    if left is None or parts.loop.time() - min(claimed[row.id] for row in left.rows) < STALE:
        return left
    try:
        ours = await parts.store.read(queue_upkeep.to_be_sent, [row.id for row in left.rows], parts.holder)
    except StoreError as error:
        log.debug("The queue cannot be looked at: %s", error)
        return left
    gone = [row for row in left.rows if row.id not in ours]
    run.put_down(gone)
    return left.without([row.id for row in gone])
