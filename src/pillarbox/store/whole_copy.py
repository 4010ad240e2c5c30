"""A whole store into another database, of either engine: every row under the number it has.

Clients see the same UIDs, UIDVALIDITYs and modification numbers, and new rows go on after the old ones. It is one
transaction at either end, while nobody has the stores open: all of it is there, or nothing is. Rows stream from one
to the other, so that memory does not grow with the store.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from os import PathLike, fspath
from typing import NamedTuple, Protocol

from pillarbox.store.errors import Conflict, StoreError
from pillarbox.store.migration import CURRENT, version_of
from pillarbox.store.opening import is_postgres
from pillarbox.store.tx import Row, Tx
from pillarbox.store.whole_copy_sqlite import source_on_sqlite, target_on_sqlite
from pillarbox.store.whole_copy_tables import FOUNDED, Table, tables

_EVERY = 500  # rows between two words about how far it is

Show = Callable[[int, int], None]  # rows that are copied, and how many of them have a message's octets
Progress = Callable[[int], AbstractContextManager[Show]]  # gets how many rows there are


class Source(Protocol):
    """A store that is read, as of one moment."""

    @property
    def tx(self) -> Tx: ...

    def names(self) -> set[str]:
        """Its tables, also those that are no store's."""

    def rows(self, table: Table) -> Generator[Row, None, None]:
        """All rows in the order of their keys, as they are wanted. To be closed."""

    def last(self, table: Table) -> int:
        """The greatest id that was ever given in a table that counts."""


class Target(Protocol):
    """A store that has the newest schema, whose triggers rest: rows come as they are."""

    @property
    def tx(self) -> Tx: ...

    def take(self, table: Table, rows: Iterable[Row]) -> None: ...

    def go_on_after(self, table: Table, last: int) -> None:
        """The next id of a table that counts is greater than `last`."""


class Copied(NamedTuple):
    """Rows by table, and tables of the source that belong to somebody else and stayed there."""

    rows: dict[str, int]
    left_out: list[str]


@contextmanager
def _unseen(total: int) -> Iterator[Show]:
    yield lambda rows, messages: None


def copy_store(source: str | PathLike[str], target: str | PathLike[str], progress: Progress = _unseen) -> Copied:
    """Copy all of `source` into `target`, which is no store yet or an empty one. Synchronous.

    Raises InUse while a server or a command has one of them open, Conflict when `target` is not empty, other
    StoreError; then `target` is as it was.
    """
    with _source(fspath(source)) as read, _target(fspath(target)) as written:
        _require_version(read.tx, "the store to be copied")
        _require_version(written.tx, "the database to copy to")
        ours = tables()
        _require_empty(written.tx, ours)
        counts = {table.name: _count(read.tx, table) for table in ours}
        with progress(sum(counts.values())) as show:
            far = _Far(show)
            for table in ours:
                with closing(read.rows(table)) as rows:
                    written.take(table, far.along(table, rows))
                if table.counts:
                    written.go_on_after(table, read.last(table))
        # What was derived of the original (the search index of a file) is not taken for that of the copy.
        written.tx.run("UPDATE store_meta SET value = ? WHERE key = 'jmap_epoch'", (secrets.token_hex(8),))
        for table in ours:
            if (found := _count(written.tx, table)) != counts[table.name]:
                raise StoreError(
                    f"{table.name} has {counts[table.name]} rows, but {found} in the copy: nothing is kept"
                )
        known = {table.name for table in ours} | {"schema_migrations", "search_texts"}
        return Copied(counts, sorted(read.names() - known))


class _Far:
    """How far a copy is."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._rows = self._messages = 0

    def along(self, table: Table, rows: Iterator[Row]) -> Iterator[Row]:
        has_octets = table.name == "blobs"
        for row in rows:
            yield row
            self._rows += 1
            self._messages += has_octets
            if not self._rows % _EVERY:
                self._show(self._rows, self._messages)


def _source(name: str) -> AbstractContextManager[Source]:
    if is_postgres(name):
        from pillarbox.store.whole_copy_postgres import source_on_postgres

        return source_on_postgres(name)
    return source_on_sqlite(name)


def _target(name: str) -> AbstractContextManager[Target]:
    if is_postgres(name):
        from pillarbox.store.whole_copy_postgres import target_on_postgres

        return target_on_postgres(name)
    return target_on_sqlite(name)


def _require_version(tx: Tx, which: str) -> None:
    if (version := version_of(tx)) != CURRENT:
        fix = "`pillarbox migrate up --db ...` brings it there" if version < CURRENT else "use the newer program"
        raise StoreError(f"{which} has schema {version}, this program has {CURRENT}: {fix}")


def _require_empty(tx: Tx, ours: list[Table]) -> None:
    for table in ours:
        if table.name in FOUNDED:
            tx.run(f"DELETE FROM {table.name}")
        elif tx.row(f"SELECT 1 FROM {table.name} LIMIT 1") is not None:
            raise Conflict(f"the database to copy to is not empty: its table {table.name} has rows; name an empty one")


def _count(tx: Tx, table: Table) -> int:
    (number,) = tx.row(f"SELECT count(*) FROM {table.name}") or (0,)
    return int(number)
