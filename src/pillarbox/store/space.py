"""Giving free space of the database file back to the disk."""

from __future__ import annotations

from pillarbox.store.tx import Tx

STEP = 256  # pages in one transaction
KEPT = 4  # a quarter of the file may be free: it will be needed again


def give_back(tx: Tx) -> int:
    """Shorten an SQLite file of which over a quarter is free by a step; how many pages, 0 when there is no need."""
    if tx.engine != "sqlite":
        return 0  # autovacuum does it
    (free,) = tx.row("PRAGMA freelist_count") or (0,)
    (pages,) = tx.row("PRAGMA page_count") or (0,)
    if free <= STEP or free <= pages // KEPT:
        return 0
    tx.rows(f"PRAGMA incremental_vacuum({STEP})")
    (left,) = tx.row("PRAGMA freelist_count") or (0,)
    given: int = free - left
    return given
