"""Copying an SQLite store while it is written to, and holding the writers still for somebody else's copy.

Anybody's `sqlite3 ... ".backup"` begins again whenever another process commits, so it may never end on a busy server.
`backup` reads everything in one transaction instead: it is one moment's state, and writers go on meanwhile. `paused`
holds them, for as long as another program's copy takes.

All of this is synchronous and for the command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from pillarbox.store.errors import Corrupt, IoFault, StoreError
from pillarbox.store.files import appearing
from pillarbox.store.migration import version_of
from pillarbox.store.sqlite_connection import connect, translated
from pillarbox.store.sqlite_tx import SqliteTx
from pillarbox.store.write_lock import WriteLock

LONGEST_PAUSE = 50.0  # seconds; after 60 the server would answer 451
_STEP = 2048  # pages between two looks for an interrupt


def backup(path: str, target: str) -> int:
    """A whole copy, as of one moment, at `target`: one file, mode 0600, synced, verified. Its octets.

    Writers go on meanwhile; the log (`-wal`) grows until the copy is made. `target` is there only once it is good.
    Raises Conflict when it exists, Corrupt when the copy is not sound, other StoreError.
    """
    with appearing(target) as partial:
        _copy(path, partial)
        _verify(partial)
        return os.stat(partial).st_size


def _copy(path: str, target: str) -> None:
    source = connect(path, "reader")
    copy = apsw.Connection(target)
    try:
        source.execute("BEGIN")
        if not version_of(SqliteTx(source, 0)):  # reads, which takes the snapshot
            raise StoreError(f"{path} is no store: it has no schema")
        with copy.backup("main", source, "main") as work:
            while not work.done:
                work.step(_STEP)
        copy.execute("PRAGMA journal_mode=DELETE").fetchall()  # the copy is one file
    except apsw.Error as error:
        raise translated(error, target) from error
    finally:
        copy.close()
        source.close()


def _verify(target: str) -> None:
    """Raises Corrupt unless SQLite finds the file sound."""
    copy = apsw.Connection(target, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = [str(row[0]) for row in copy.execute("PRAGMA integrity_check(5)").fetchall()]
    except apsw.Error as error:
        raise translated(error, target) from error
    finally:
        copy.close()
    if found != ["ok"]:
        raise Corrupt(f"the copy is not sound: {'; '.join(found)}")


@contextmanager
def paused(path: str) -> Iterator[None]:
    """While inside, no process of the server commits: mail waits. Stay no longer than LONGEST_PAUSE.

    Waits for its turn like any writer (behind another pause, as long as that takes). Raises IoFault.
    """
    try:
        lock = WriteLock(path)
    except OSError as error:
        raise IoFault(f"{error.filename or path}: {error.strerror}") from error
    try:
        with lock:
            yield
    finally:
        lock.close()
