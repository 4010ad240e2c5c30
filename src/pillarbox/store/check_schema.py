"""Whether an SQLite database has the tables, indexes and triggers that the steps of its schema make.

They are made once more, in memory, and the names compared. What somebody added is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from pillarbox.store.migration import upgrade
from pillarbox.store.sqlite_tx import SqliteTx
from pillarbox.store.tx import Tx

_NAMES = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type DESC, name"


def missing(tx: Tx) -> list[str]:
    """A sentence for each that is not there. `tx` is on SQLite and has the newest schema."""
    there = set(tx.rows(_NAMES))
    with newest() as fresh:
        return [f"The {kind} {name} is missing." for kind, name in fresh.rows(_NAMES) if (kind, name) not in there]


@contextmanager
def newest() -> Iterator[Tx]:
    """An empty store in memory, of SQLite, that has the newest schema."""
    connection = apsw.Connection(":memory:")
    try:
        fresh = SqliteTx(connection, 0)
        upgrade(fresh)
        yield fresh
    finally:
        connection.close()
