"""`Tx` on a PostgreSQL connection: `?` becomes `%s`, and drivers' errors become ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Literal

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

from pillarbox.store.errors import Busy, Conflict, Corrupt, Full, IoFault, NotFound, StoreError
from pillarbox.store.tx import Params, Row, Touched

_NEXT_MODSEQ = "UPDATE users SET modseq = modseq + 1 WHERE id = ? RETURNING modseq"
_LOCK = "SELECT id FROM users WHERE id = ANY(?::bigint[]) ORDER BY id FOR UPDATE"


class Again(Exception):
    """A deadlock or a serialization failure: the whole function is to be run again."""


@cache
def dialect(sql: str) -> str:
    """The statement with psycopg's placeholders. There is no question mark in our SQL but as a placeholder."""
    return sql.replace("%", "%%").replace("?", "%s")


class PostgresTx:
    """A transaction of its own."""

    engine: Literal["sqlite", "postgresql"] = "postgresql"

    def __init__(self, connection: psycopg.Connection[Row], now: int) -> None:
        self.now = now
        self.touched: list[Touched] = []
        self._connection = connection

    def row(self, sql: str, params: Params = ()) -> Row | None:
        rows = self.rows(sql, params)
        return rows[0] if rows else None

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        cursor = self._execute(sql, params)
        return cursor.fetchall() if cursor.description else []

    def run(self, sql: str, params: Params = ()) -> int:
        return self._execute(sql, params).rowcount

    def insert(self, sql: str, params: Params = ()) -> int:
        row = self.row(sql + " RETURNING id", params)
        assert row is not None
        new_id: int = row[0]
        return new_id

    def many(self, sql: str, rows: Iterable[Params]) -> None:
        try:
            with self._connection.cursor() as cursor:
                cursor.executemany(dialect(sql).encode(), rows)
        except psycopg.Error as error:
            raise translated(error) from error

    def among(self, column: str, values: Sequence[int]) -> tuple[str, object]:
        return f"{column} = ANY(?::bigint[])", list(values)

    def touch(self, user_id: int, mailbox_id: int) -> None:
        self.touched.append(Touched(user_id, mailbox_id))

    def next_modseq(self, user_id: int) -> int:
        row = self.row(_NEXT_MODSEQ, (user_id,))
        if row is None:
            raise NotFound("no such user")
        modseq: int = row[0]
        return modseq

    def lock(self, user_ids: Iterable[int]) -> None:
        self.rows(_LOCK, (sorted(set(user_ids)),))

    def locking(self, clause: str) -> str:
        return " " + clause

    def heavy(self, rows: int = 0, octets: int = 0) -> None:
        """Nothing to say: always in a thread."""

    def remembered(self) -> dict[Any, Any]:
        """Nothing: to ask whether it is still so would be one more way to the server."""
        return {}

    def savepoint(self) -> PostgresSavepoint:
        return PostgresSavepoint(self)

    def _execute(self, sql: str, params: Params) -> psycopg.Cursor[Row]:
        try:
            return self._connection.execute(dialect(sql).encode(), params)
        except psycopg.Error as error:
            raise translated(error) from error


class PostgresSavepoint:
    """Undoes what was done inside when an exception leaves it, which also brings a failed transaction back to life."""

    __slots__ = ("_tx",)

    def __init__(self, tx: PostgresTx) -> None:
        self._tx = tx

    def __enter__(self) -> None:
        self._tx.run("SAVEPOINT inner_part")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, Again | IoFault):
            return  # the whole transaction is lost
        if error is not None:
            self._tx.run("ROLLBACK TO SAVEPOINT inner_part")
        self._tx.run("RELEASE SAVEPOINT inner_part")


def translated(error: psycopg.Error) -> Exception:
    """The store's class for a driver's error."""
    text = _line(error)
    match error:
        case pg.SerializationFailure() | pg.DeadlockDetected():
            return Again(text)
        case pg.IntegrityError():
            return Conflict(text)
        case pg.DiskFull() | pg.OutOfMemory() | pg.TooManyConnections() | pg.InsufficientResources():
            return Full(text)
        case pg.LockNotAvailable() | pg.QueryCanceled():
            return Busy(text)
        case pg.DataCorrupted() | pg.IndexCorrupted():
            return Corrupt(text)
        case psycopg.OperationalError() | psycopg.InterfaceError() | pg.IdleInTransactionSessionTimeout():
            return IoFault(text)
        case pg.ReadOnlySqlTransaction():  # a standby
            return IoFault(text)
        case _:
            return StoreError(text)


# Unless the URL says it. A server that is gone without a word (its machine, the network to it) is given up within half
# a minute; without this a thread may wait for its answer for two hours, while another has taken its place.
_USUAL = {
    "connect_timeout": 10,  # seconds, as those of keepalives
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds
    "fallback_application_name": "pillarbox",
}

# The same for the other end, unless somebody said it there: when a node's machine is gone in the middle of a
# transaction, what that has locked is free again in half a minute, not after two hours. Who waits for a lock is
# answered as by SQLite. And whoever said that commits need not wait for the disk: ours do, they are promises.
_AT_THE_SERVER = """
    SELECT set_config(name, ours.value, false)
    FROM (VALUES ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'),
                 ('tcp_user_timeout', '25000'), ('lock_timeout', '60s'), ('synchronous_commit', 'on'))
        AS ours (name, value)
    JOIN pg_settings USING (name)
    WHERE source IN ('default', 'override') OR (name = 'synchronous_commit' AND setting = 'off')"""


def connect(url: str, **options: Any) -> psycopg.Connection[Row]:
    """A connection as the store wants it. Raises StoreError."""
    try:
        given = conninfo_to_dict(url)
        options |= {name: value for name, value in _USUAL.items() if name not in given}
        connection: psycopg.Connection[Row] = psycopg.connect(url, client_encoding="UTF8", **options)
        connection.execute(_AT_THE_SERVER)
        connection.commit()
    except psycopg.Error as error:
        said = _without_url(_line(error))
        if _ALL_TAKEN.search(said):
            raise Full(f"{said}; {_ENOUGH}") from None
        raise IoFault(said) from None
    connection.adapters.register_loader("numeric", _IntLoader)
    return connection


_ALL_TAKEN = re.compile(r"too many (connections|clients)|remaining connection slots")
_ENOUGH = "every worker takes up to six: raise max_connections or the CONNECTION LIMIT, or lower SMTP_WORKER_THREADS"

_QUOTED = re.compile(r"""(['"]).*\1""")
_OF_URL = re.compile(r"URI|percent|%20|@|invalid integer")


def _line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())


def _without_url(said: str) -> str:
    """libpq quotes what it cannot read of a URL, or takes for the host, where a password may be written wrongly."""
    return _QUOTED.sub(r"\1...\1", said) if _OF_URL.search(said) else said


class _IntLoader(psycopg.adapt.Loader):
    """sum() of BIGINTs is NUMERIC; every number in the store is an integer."""

    def load(self, data: psycopg.abc.Buffer) -> int:
        return int(bytes(data))
