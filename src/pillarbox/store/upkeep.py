"""Background work of a store, in steps small enough to stand between two groups of commits."""

from __future__ import annotations

from collections.abc import Callable

from pillarbox.store import blobs
from pillarbox.store.copying import HISTORY, trim_history
from pillarbox.store.mailboxes import purge_deleted
from pillarbox.store.tx import Tx

VACUUM_PAGES = 256  # given back to the disk in one step


def step(tx: Tx) -> int:
    """One step of everything that goes on for ever; how many rows it removed. Call it again soon while it gives > 0."""
    removed = purge_deleted(tx, 500) + blobs.free_unreferenced(tx, tx.now - blobs.KEEP)
    give_back_space(tx)
    return removed


def begin(tx: Tx, alive: Callable[[str], bool]) -> int:
    """At the start, and when a worker died: free what dead owners were writing, some at a time. How many."""
    return blobs.free_unfinished(tx, alive)


def trim_histories(tx: Tx, keep: int = HISTORY) -> int:
    """Once a day: forget expunges of mailboxes that remember more than a tenth over `keep`."""
    rows = tx.rows("SELECT mailbox_id FROM expunged GROUP BY mailbox_id HAVING count(*) > ?", (keep + keep // 10,))
    return sum(trim_history(tx, mailbox_id, keep) for (mailbox_id,) in rows)


def give_back_space(tx: Tx) -> None:
    """Shorten an SQLite file of which over a quarter is free."""
    if tx.engine != "sqlite":
        return
    (free,) = tx.row("PRAGMA freelist_count") or (0,)
    (pages,) = tx.row("PRAGMA page_count") or (0,)
    if free > VACUUM_PAGES and free > pages // 4:
        tx.rows(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
