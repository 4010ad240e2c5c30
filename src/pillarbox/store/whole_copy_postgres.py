"""The ends of a whole copy on PostgreSQL: rows by its COPY, in one transaction with the schema."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain

import psycopg
from psycopg import IsolationLevel

from pillarbox.store.errors import Busy, StoreError
from pillarbox.store.migration import upgrade, version_of
from pillarbox.store.postgres import lock_schema, migrate_postgres, require_utf8
from pillarbox.store.postgres_open import have_alone
from pillarbox.store.postgres_tx import Again, PostgresTx, connect, translated
from pillarbox.store.tx import Row
from pillarbox.store.whole_copy_tables import Kind, Table

# Rows and octets of one COPY: the server keeps a note of each row until it has looked for what it refers to, and the
# client's library whatever the server has not taken yet.
_BATCH_ROWS = 20_000
_BATCH_OCTETS = 8 << 20

_TYPES: dict[Kind, str] = {"INTEGER": "int8", "TEXT": "text", "BLOB": "bytea"}


@contextmanager
def source_on_postgres(url: str) -> Iterator[PostgresSource]:
    """Nobody opens it meanwhile. Raises InUse, StoreError."""
    with _our_errors(), closing(connect(url)) as connection:
        have_alone(connection)
        if not version_of(PostgresTx(connection, 0)):
            raise StoreError("the database to copy from has no store in it")
        connection.rollback()
        migrate_postgres(url)
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield PostgresSource(connection)


class PostgresSource:
    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection
        self.tx = PostgresTx(connection, 0)

    def names(self) -> set[str]:
        rows = self.tx.rows("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        return {name for (name,) in rows}

    def rows(self, table: Table) -> Generator[Row, None, None]:
        query = f"COPY (SELECT {table.listed} FROM {table.name} ORDER BY {table.key}) TO STDOUT (FORMAT BINARY)"
        with self._connection.cursor() as cursor, cursor.copy(query.encode()) as copy:
            copy.set_types([_TYPES[kind] for kind in table.kinds])
            yield from copy.rows()

    def last(self, table: Table) -> int:
        (name,) = self.tx.row(_SEQUENCE, (table.name,)) or ("",)
        last, given = self.tx.row(f"SELECT last_value, is_called FROM {name}") or (0, False)
        return int(last) if given else 0


@contextmanager
def target_on_postgres(url: str) -> Iterator[PostgresTarget]:
    """An empty database, or one with an empty store. Raises InUse, StoreError; then it is as it was."""
    with _our_errors(), connect(url) as connection:
        require_utf8(connection)
        have_alone(connection)
        tx = PostgresTx(connection, int(time.time()))
        lock_schema(tx)  # a node that is started now waits, and finds all of it
        if not version_of(tx):
            upgrade(tx)
        tables = [name for (name,) in tx.rows(_WITH_TRIGGERS)]
        for name in tables:
            tx.run(f"ALTER TABLE {name} DISABLE TRIGGER USER")
        yield PostgresTarget(connection, tx)
        for name in tables:
            tx.run(f"ALTER TABLE {name} ENABLE TRIGGER USER")


class PostgresTarget:
    def __init__(self, connection: psycopg.Connection[Row], tx: PostgresTx) -> None:
        self._connection = connection
        self.tx = tx

    def take(self, table: Table, rows: Iterable[Row]) -> None:
        left = iter(rows)
        for first in left:
            self._take_some(table, chain([first], left))

    def go_on_after(self, table: Table, last: int) -> None:
        if last:
            self.tx.rows(f"SELECT setval(({_SEQUENCE})::regclass, ?)", (table.name, last))

    def _take_some(self, table: Table, rows: Iterator[Row]) -> None:
        octets = 0
        blobs = [at for at, kind in enumerate(table.kinds) if kind == "BLOB"]
        query = f"COPY {table.name} ({table.listed}) FROM STDIN (FORMAT BINARY)"
        with self._connection.cursor() as cursor, cursor.copy(query.encode()) as copy:
            copy.set_types([_TYPES[kind] for kind in table.kinds])
            for number, row in enumerate(rows, 1):
                copy.write_row(row)
                octets += sum(len(row[at] or b"") for at in blobs)
                if number >= _BATCH_ROWS or octets >= _BATCH_OCTETS:
                    return


_SEQUENCE = "SELECT pg_get_serial_sequence(quote_ident(?), 'id')"
_WITH_TRIGGERS = (
    "SELECT DISTINCT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
    "WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace"
)


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise translated(error) from error
    except Again as error:
        raise Busy(f"PostgreSQL asks to begin again: {error}") from error
