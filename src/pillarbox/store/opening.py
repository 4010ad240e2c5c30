"""Opening and preparing a store by its name: a file, or a `postgresql://` address."""

from __future__ import annotations

import time
from collections.abc import Callable
from os import PathLike, fspath

from pillarbox.store import sqlite_setup
from pillarbox.store.migration import Applied
from pillarbox.store.search_sqlite import leave_no_log
from pillarbox.store.sqlite_store import open_sqlite
from pillarbox.store.store import Store


def migrate(target: str | PathLike[str], *, clock: Callable[[], float] = time.time) -> list[Applied]:
    """Make the store ready (create it, apply what its schema lacks); what was applied. Synchronous.

    Raises StoreError.
    """
    name = fspath(target)
    if is_postgres(name):
        from pillarbox.store.postgres import migrate_postgres

        return migrate_postgres(name, clock=clock)
    return sqlite_setup.migrate(name, clock=clock)


async def open_store(target: str | PathLike[str], *, clock: Callable[[], float] = time.time) -> Store:
    """The store for this event loop, made ready first where needed. Raises StoreError."""
    name = fspath(target)
    if is_postgres(name):
        from pillarbox.store.postgres import open_postgres

        return await open_postgres(name, clock)
    return await open_sqlite(name, clock)


def check_store(target: str | PathLike[str]) -> list[str]:
    """Every invariant of a store that may be in use or not; a sentence for each that is broken. Changes nothing.

    Synchronous. Raises StoreError when it cannot be opened.
    """
    name = fspath(target)
    if is_postgres(name):
        from pillarbox.store.postgres import check_postgres

        return check_postgres(name)
    return sqlite_setup.check_sqlite(name)


def schema_version(target: str | PathLike[str]) -> int:
    """The newest step of the schema that a store has, 0 for none; none is applied. Synchronous. Raises StoreError."""
    name = fspath(target)
    if is_postgres(name):
        from pillarbox.store.postgres import version_of_postgres

        return version_of_postgres(name)
    return sqlite_setup.version_of_sqlite(name)


def rollback(target: str | PathLike[str], to_version: int) -> list[Applied]:
    """Take the schema back to `to_version`; what was taken back. Synchronous.

    Raises InUse while a server runs, StoreError.
    """
    name = fspath(target)
    if is_postgres(name):
        from pillarbox.store.postgres import rollback_postgres

        return rollback_postgres(name, to_version)
    return sqlite_setup.rollback(name, to_version)


def truncate_wal(target: str | PathLike[str]) -> bool:
    """After the last process: leave no log beside the files. See `sqlite_setup.truncate_wal`."""
    name = fspath(target)
    if is_postgres(name):
        return True
    leave_no_log(name)
    return sqlite_setup.truncate_wal(name)


def is_postgres(target: str) -> bool:
    return target.startswith(("postgresql://", "postgres://"))
