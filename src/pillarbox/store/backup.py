"""Copying an SQLite store while it is written to, and holding the writers still for somebody else's copy.

Anybody's `sqlite3 ... ".backup"` begins again whenever another process commits, so it may never end on a busy server.
Both functions here are synchronous and for the command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from pillarbox.store.errors import Conflict
from pillarbox.store.files import create_database
from pillarbox.store.sqlite_connection import connect, translated
from pillarbox.store.write_lock import WriteLock


def backup(path: str, target: str) -> None:
    """A whole copy, as of one moment, at `target` (mode 0600, without a log). Writers go on meanwhile.

    Raises Conflict when `target` exists, StoreError.
    """
    if not create_database(target):
        raise Conflict(f"{target} exists")
    source = connect(path, "reader")
    copy = apsw.Connection(target)
    try:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM store_meta").fetchall()  # takes the snapshot
        with copy.backup("main", source, "main") as work:
            work.step(-1)
        copy.execute("PRAGMA journal_mode=DELETE").fetchall()  # the copy is one file
    except apsw.Error as error:
        copy.close()
        os.unlink(target)
        raise translated(error, target) from error
    finally:
        source.close()
        copy.close()


@contextmanager
def paused(path: str) -> Iterator[None]:
    """While inside, no process of the server commits: mail waits. Not for longer than a minute."""
    lock = WriteLock(path)
    try:
        with lock:
            yield
    finally:
        lock.close()
