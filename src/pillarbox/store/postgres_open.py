"""Who has a store on PostgreSQL open, and who wants it alone: an advisory lock that many share or one holds.

It is of the session, so it ends with the connection, however that ends. Each schema of a database is another store.
"""

from __future__ import annotations

import time

import psycopg

from pillarbox.store.errors import InUse, IoFault
from pillarbox.store.tx import Row

LINGERING = 2.0  # seconds that the server may take to notice that somebody has gone
LOOK = 0.05  # seconds between two looks

_OPEN = 0x5042  # as the first of two keys: those of one key (the migrations') are others
_KEYS = f"({_OPEN}, hashtext(coalesce(current_schema(), '')))"


def say_open(connection: psycopg.Connection[Row]) -> None:
    """The store is open here, until the connection ends. Raises IoFault, and closes it, when another has it alone."""
    try:
        if not _locked(connection, "pg_try_advisory_lock_shared"):
            raise IoFault("the store is just being copied, or its schema taken back: wait until that is done")
    except IoFault:
        connection.close()
        raise


def have_alone(connection: psycopg.Connection[Row]) -> None:
    """Nobody else has the store open nor can open it until the connection ends. Raises InUse, IoFault."""
    end = time.monotonic() + LINGERING
    while not _locked(connection, "pg_try_advisory_lock"):
        if time.monotonic() > end:
            raise InUse("the database")
        time.sleep(LOOK)


def _locked(connection: psycopg.Connection[Row], function: str) -> bool:
    try:
        (taken,) = connection.execute(f"SELECT {function}{_KEYS}".encode()).fetchone() or (False,)
        connection.commit()
    except psycopg.Error as error:
        raise IoFault(" ".join(str(error).split())) from error
    return bool(taken)
