"""Connections to the SQLite file: how they are set, and what its errors mean.

apsw is the one SQLite library in the process. Every connection is used by one thread.
"""

from __future__ import annotations

from typing import Any, Literal

import apsw

from pillarbox.store.errors import Busy, Conflict, Corrupt, Full, IoFault, StoreError, Temporary

FOREIGN_LOCK_WAIT = 60.0  # seconds a writer waits for somebody else's `sqlite3`
PAGE_SIZE = 4096

_OPENING_WAIT_MS = 10_000

Role = Literal["writer", "inline", "reader", "checkpointer"]

_CACHE_KIB: dict[Role, int] = {"writer": 8192, "inline": 4096, "reader": 2048, "checkpointer": 256}
_BUSY_WAIT_MS: dict[Role, int] = {
    "writer": int(FOREIGN_LOCK_WAIT * 1000),
    "inline": 0,
    "reader": 10_000,
    "checkpointer": 0,
}


def connect(path: str, role: Role) -> apsw.Connection:
    """Open an existing database file for one role. Raises StoreError."""
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=200)
        # Who opens the database first reads its log anew after a crash, and the others wait for that.
        connection.set_busy_timeout(_OPENING_WAIT_MS)
        # "double quotes are a string" hides misspelt column names.
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
        for pragma in (
            "synchronous=FULL",  # a commit is on the disk when COMMIT returns
            "wal_autocheckpoint=0",  # only the checkpointer does it
            "foreign_keys=ON",
            "temp_store=MEMORY",  # the server may write nowhere but beside its database
            f"cache_size=-{_CACHE_KIB[role]}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        if role in ("inline", "reader"):
            connection.execute("PRAGMA query_only=ON")
        connection.set_busy_timeout(_BUSY_WAIT_MS[role])
    except apsw.Error as error:
        raise translated(error, path) from error
    return connection


def fetch(connection: apsw.Connection, sql: str, params: tuple[Any, ...] = ()) -> Any:
    """The one row of a statement. Raises apsw.Error."""
    return connection.execute(sql, params).fetchall()[0]


def translated(error: apsw.Error, where: str = "") -> StoreError:
    """The store's class for a driver's error."""
    text = f"{where}: {error}" if where else str(error)
    return _class_of(error)(text)


def _class_of(error: apsw.Error) -> type[StoreError]:
    match error:
        case apsw.BusyError() | apsw.LockedError() | apsw.SchemaChangeError() | apsw.ProtocolError():
            return Busy
        case apsw.FullError():
            return Full
        case apsw.IOError() | apsw.CantOpenError() | apsw.ReadOnlyError():
            return IoFault
        case apsw.NoMemError():
            return Temporary
        case apsw.CorruptError() | apsw.NotADBError():
            return Corrupt
        case apsw.ConstraintError():
            return Conflict
        case _:
            return StoreError
