"""`Tx` on an SQLite connection, and its stricter sister for reads on the event loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Literal

import apsw

from pillarbox.store.errors import NotFound, StoreError
from pillarbox.store.remembered import VERSION, Remembered
from pillarbox.store.sqlite_connection import translated
from pillarbox.store.tx import Params, Row, Touched

INLINE_ROWS = 200
INLINE_OCTETS = 64 * 1024
RANGE = 1000  # numbers from which on their range is worth a statement of its own

_NEXT_MODSEQ = "UPDATE users SET modseq = modseq + 1 WHERE id = ? RETURNING modseq"


def _json(values: Iterable[int]) -> str:
    return "[" + ",".join(map(str, values)) + "]"


class Elsewhere(Exception):
    """An inline read is more than the event loop should wait for: a thread does it."""


class Savepoint:
    """Nested as deep as wanted: SQLite takes the innermost of a name."""

    __slots__ = ("_tx",)

    def __init__(self, tx: SqliteTx) -> None:
        self._tx = tx

    def __enter__(self) -> None:
        self._tx.run("SAVEPOINT inner_part")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._tx.memory.forget()
        # An error may have ended the whole transaction (SQLITE_FULL): then there is nothing to go back to.
        if error is not None and self._tx.connection.in_transaction:
            self._tx.run("ROLLBACK TO inner_part")
        if error is None or self._tx.connection.in_transaction:
            self._tx.run("RELEASE inner_part")


class SqliteTx:
    """A transaction, or one of many in a group: what it touched is taken by the writer after the commit."""

    engine: Literal["sqlite", "postgresql"] = "sqlite"

    def __init__(self, connection: apsw.Connection, now: int, memory: Remembered | None = None) -> None:
        """`memory`: of whoever uses the connection for many transactions."""
        self.connection = connection
        self.now = now
        self.memory = memory or Remembered()
        self.touched: list[Touched] = []
        self._cursor = connection.cursor()
        self.memory.begin()

    def row(self, sql: str, params: Params = ()) -> Row | None:
        try:
            rows = self._cursor.execute(sql, params).fetchall()
        except apsw.Error as error:
            raise translated(error) from error
        return rows[0] if rows else None

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        try:
            return self._cursor.execute(sql, params).fetchall()
        except apsw.Error as error:
            raise translated(error) from error

    def run(self, sql: str, params: Params = ()) -> int:
        try:
            self._cursor.execute(sql, params).fetchall()
            return self.connection.changes()
        except apsw.Error as error:
            raise translated(error) from error

    def insert(self, sql: str, params: Params = ()) -> int:
        try:
            self._cursor.execute(sql, params).fetchall()
            return self.connection.last_insert_rowid()
        except apsw.Error as error:
            raise translated(error) from error

    def many(self, sql: str, rows: Iterable[Params]) -> None:
        try:
            self._cursor.executemany(sql, rows).fetchall()
        except apsw.Error as error:
            raise translated(error) from error

    def among(self, column: str, values: Sequence[int]) -> tuple[str, object]:
        if len(values) == 1:
            return f"{column} = ?", values[0]
        if len(values) >= RANGE:  # to walk over a range is half the work of looking each of them up
            first, last = min(values), max(values)
            if last - first < len(values) * 9 // 8:
                gaps = set(range(first, last + 1)).difference(values)
                if not gaps:
                    return f"{column} BETWEEN ? AND {last}", first
                but = f"{column} NOT IN (SELECT value FROM json_each(?))"
                return f"({column} BETWEEN {first} AND {last} AND {but})", _json(gaps)
        return f"{column} IN (SELECT value FROM json_each(?))", _json(values)

    def touch(self, user_id: int, mailbox_id: int) -> None:
        self.touched.append(Touched(user_id, mailbox_id))

    def next_modseq(self, user_id: int) -> int:
        row = self.row(_NEXT_MODSEQ, (user_id,))
        if row is None:
            raise NotFound("no such user")
        modseq: int = row[0]
        return modseq

    def lock(self, user_ids: Iterable[int]) -> None:
        """Nothing to do: one writer at a time."""

    def locking(self, clause: str) -> str:
        return ""

    def heavy(self, rows: int = 0, octets: int = 0) -> None:
        """Nothing to say in a thread."""

    def remembered(self) -> dict[Any, Any]:
        changes = self.connection.total_changes()
        known = self.memory.still(changes)
        if known is None:
            (version,) = self.row(VERSION) or (0,)
            known = self.memory.at(version, changes)
        return known

    def savepoint(self) -> Savepoint:
        return Savepoint(self)


class InlineTx(SqliteTx):
    """Point reads on the event loop, one snapshot from `begin` to `end`. Each statement is read to its end."""

    def begin(self, now: int) -> None:
        """Deferred: the first read takes the snapshot."""
        self.now = now
        self.memory.begin()
        try:
            self._cursor.execute("BEGIN")
        except apsw.Error as error:
            raise translated(error) from error

    def end(self) -> None:
        if self.connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def row(self, sql: str, params: Params = ()) -> Row | None:
        rows = self.rows(sql, params)
        return rows[0] if rows else None

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        try:
            cursor = self._cursor.execute(sql, params)
            rows = list(islice(cursor, INLINE_ROWS + 1))
            if len(rows) > INLINE_ROWS:
                cursor.close(True)
                self._cursor = self.connection.cursor()
                raise Elsewhere
        except apsw.Error as error:
            raise translated(error) from error
        return rows

    def run(self, sql: str, params: Params = ()) -> int:
        raise StoreError("a read does not write")

    def insert(self, sql: str, params: Params = ()) -> int:
        raise StoreError("a read does not write")

    def many(self, sql: str, rows: Iterable[Params]) -> None:
        raise StoreError("a read does not write")

    def next_modseq(self, user_id: int) -> int:
        raise StoreError("a read does not write")

    def heavy(self, rows: int = 0, octets: int = 0) -> None:
        if rows > INLINE_ROWS or octets > INLINE_OCTETS:
            raise Elsewhere

    def pragma(self, name: str) -> Any:
        """A pragma's one value."""
        rows = self._cursor.execute(f"PRAGMA {name}").fetchall()
        return rows[0][0]
