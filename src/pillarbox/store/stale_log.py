"""A write-ahead log that is not the database's: somebody put another file in its place (`cp` of a backup) after the
server was killed, and did not remove `-wal`.

SQLite would replay that log over the other file, and the result is neither. The mark knows up to which commit the file
itself had everything (`Mark.checkpointed`); a file that ends before that is not the one that the log was made for.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote

import apsw
import structlog

from pillarbox.store.errors import StoreError
from pillarbox.store.files import sync_directory
from pillarbox.store.mark import Mark
from pillarbox.store.sqlite_connection import connect, fetch

log = structlog.get_logger()

_STATE = (
    "SELECT (SELECT value FROM store_meta WHERE key = 'id'), (SELECT value FROM store_counters WHERE name = 'commits')"
)


class Stale(NamedTuple):
    """`counter`: commits in the file alone; `checkpointed`: how many the file had that the log belongs to."""

    counter: int
    checkpointed: int


def find(path: str, mark: Mark) -> Stale | None:
    """Whether the log beside the database is another one's. Only while nobody has it open. Changes nothing."""
    if mark.is_new or not _size(path + "-wal"):
        return None
    alone = _state(f"file:{quote(os.path.abspath(path))}?immutable=1")
    if alone is None:
        return None  # what it is will be said when it is opened
    store_id, counter = alone
    if store_id == mark.store_id and counter >= mark.checkpointed:
        return None
    together = _together(path)
    # A file and its own log, put there together, say of themselves that they are older (or from elsewhere); the log
    # that was left here has our newest commits.
    if together is not None and not mark.committed <= together <= mark.reserved:
        return None
    return Stale(counter, mark.checkpointed)


def set_aside(path: str, stale: Stale, now: int) -> None:
    """Take the log away from the database, and keep it. Raises OSError."""
    kept = f"{path}-wal.{now}"
    os.rename(path + "-wal", kept)
    with suppress(FileNotFoundError):
        os.unlink(path + "-shm")
    sync_directory(path)
    log.warning(
        "The database was replaced while the log of the one before lay beside it: the log was set aside",
        file=kept,
        counter=stale.counter,
        checkpointed=stale.checkpointed,
    )


def _state(uri: str) -> tuple[str, int] | None:
    """Store id and commits of the file without its log; None when they cannot be read."""
    try:
        connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        try:
            store_id, counter = fetch(connection, _STATE)
        finally:
            connection.close()
    except apsw.Error:
        return None
    return (store_id, counter) if isinstance(store_id, str) and isinstance(counter, int) else None


def _together(path: str) -> int | None:
    """Commits as SQLite sees them with the log, without bringing it into the file; None when that makes no sense."""
    try:
        connection = connect(path, "reader")
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            counter = fetch(connection, _STATE)[1]
        finally:
            connection.close()
    except (apsw.Error, StoreError):
        return None
    return counter if isinstance(counter, int) else None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
