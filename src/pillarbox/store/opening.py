"""Opening and preparing a store by its name: a file, or a `postgresql://` address."""

from __future__ import annotations

import time
from collections.abc import Callable
from os import PathLike, fspath

from pillarbox.store import sqlite_setup
from pillarbox.store.migration import Applied
from pillarbox.store.sqlite_store import open_sqlite
from pillarbox.store.store import Store


def migrate(target: str | PathLike[str], *, clock: Callable[[], float] = time.time) -> list[Applied]:
    """Make the store ready (create it, apply what its schema lacks); what was applied. Synchronous. Raises
    StoreError.
    """
    return sqlite_setup.migrate(fspath(target), clock=clock)


async def open_store(target: str | PathLike[str], *, clock: Callable[[], float] = time.time) -> Store:
    """The store for this event loop, made ready first where needed. Raises StoreError."""
    return await open_sqlite(fspath(target), clock)
