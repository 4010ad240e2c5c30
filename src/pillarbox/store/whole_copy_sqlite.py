"""The ends of a whole copy on SQLite. A copy is a new file, which is there once it is whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from pillarbox.store.check import orphans
from pillarbox.store.errors import InUse, StoreError
from pillarbox.store.files import appearing
from pillarbox.store.mark import COMMITS, UIDVALIDITY, Mark
from pillarbox.store.migration import upgrade
from pillarbox.store.sqlite_connection import PAGE_SIZE, connect, translated
from pillarbox.store.sqlite_setup import migrate
from pillarbox.store.sqlite_tx import SqliteTx
from pillarbox.store.text import storable
from pillarbox.store.tx import Row
from pillarbox.store.whole_copy_tables import Kind, Table
from pillarbox.store.write_lock import WriteLock


@contextmanager
def source_on_sqlite(path: str) -> Iterator[SqliteSource]:
    """Nobody writes to it nor opens it meanwhile: who wants to waits. Raises InUse, StoreError."""
    migrate(path)
    lock = WriteLock(path)
    try:
        if not lock.have_alone():
            raise InUse(path)
        with lock:
            connection = connect(path, "reader")
            try:
                tx = SqliteTx(connection, 0)
                tx.run("BEGIN")
                if astray := orphans(tx):
                    raise StoreError(f"{path} is not whole: {astray[0]} `pillarbox check` names all that is wrong")
                yield SqliteSource(tx)
            finally:
                connection.close()
    finally:
        lock.close()


class SqliteSource:
    def __init__(self, tx: SqliteTx) -> None:
        self.tx = tx

    def names(self) -> set[str]:
        rows = self.tx.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return {name for (name,) in rows}

    def rows(self, table: Table) -> Generator[Row, None, None]:
        fits = [_FITS[kind] for kind in table.kinds]
        at = table.columns.index(table.key)
        try:
            for row in self.tx.connection.execute(f"SELECT {table.listed} FROM {table.name} ORDER BY {table.key}"):
                try:
                    yield tuple(fit(value) for fit, value in zip(fits, row, strict=True))
                except _Misfit as misfit:
                    column = table.columns[next(n for n, value in enumerate(row) if value is misfit.value)]
                    raise StoreError(
                        f"{table.name} has {misfit.value!r} as {column} of row {row[at]}: correct it by hand"
                    ) from None
        except apsw.Error as error:
            raise translated(error, table.name) from error

    def last(self, table: Table) -> int:
        (last,) = self.tx.row("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (table.name,)) or (0,)
        return last or 0


class _Misfit(Exception):
    """SQLite keeps in a column whatever somebody put there."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _number(value: Any) -> Any:
    if value is None or isinstance(value, int):
        return value
    raise _Misfit(value)


def _text(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        return storable(value)
    raise _Misfit(value)


def _octets(value: Any) -> Any:
    """Who inserts a message by hand writes a text."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise _Misfit(value)


_FITS: dict[Kind, Callable[[Any], Any]] = {"INTEGER": _number, "TEXT": _text, "BLOB": _octets}


@contextmanager
def target_on_sqlite(path: str) -> Iterator[SqliteTarget]:
    """A new file. Raises Conflict when there is one, StoreError."""
    with appearing(path) as partial:
        try:
            connection = apsw.Connection(partial)
            try:
                tx = SqliteTx(connection, 0)
                # No journal: until it is whole nobody wants it.
                for pragma in (
                    f"page_size={PAGE_SIZE}",
                    "auto_vacuum=INCREMENTAL",
                    "journal_mode=OFF",
                    "synchronous=OFF",
                ):
                    tx.rows(f"PRAGMA {pragma}")
                tx.run("BEGIN")
                upgrade(tx)
                triggers = tx.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
                for name, _ in triggers:
                    tx.run(f"DROP TRIGGER {name}")
                yield SqliteTarget(tx)
                for _, sql in triggers:
                    tx.run(sql)
                _mark(tx, path)
                tx.run("COMMIT")
            finally:
                connection.close()
        except apsw.Error as error:
            raise translated(error, partial) from error
        with open(partial, "rb") as file:
            os.fsync(file.fileno())


def _mark(tx: SqliteTx, path: str) -> None:
    """Begin a high-water mark, above one that another database may have left here: before the file is there, or the
    next start would take it for one that went back in time."""
    mark = Mark(path)
    try:
        known: dict[int, int] = dict(tx.rows("SELECT id, value FROM store_counters"))
        commits = max(known[COMMITS], mark.committed, mark.reserved) + 1
        uidvalidity = max(known[UIDVALIDITY], mark.uidvalidity)
        tx.many("UPDATE store_counters SET value = ? WHERE id = ?", [(commits, COMMITS), (uidvalidity, UIDVALIDITY)])
        (store_id,) = tx.row("SELECT value FROM store_meta WHERE key = 'id'") or ("0",)
        mark.adopt(store_id, commits, uidvalidity)
    finally:
        mark.close()


class SqliteTarget:
    def __init__(self, tx: SqliteTx) -> None:
        self.tx = tx

    def take(self, table: Table, rows: Iterable[Row]) -> None:
        places = ", ".join("?" * len(table.columns))
        self.tx.many(f"INSERT INTO {table.name} ({table.listed}) VALUES ({places})", rows)

    def go_on_after(self, table: Table, last: int) -> None:
        self.tx.run("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
        self.tx.run("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, last))
