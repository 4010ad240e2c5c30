"""The checkpointer: brings what stands in the write-ahead log into the database file.

Of all processes on a machine one does it, whoever has the lock for it. Once a second it copies what it can without
disturbing anybody (PASSIVE). Under steady load the log would never be started over, since there is always a newer
frame: over `RESTART_AT` it does the rest while holding the writers' lock, which is short because most is done
already.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

import apsw
import structlog

from pillarbox import cores
from pillarbox.store.errors import StoreError
from pillarbox.store.mark import COMMITS, Mark
from pillarbox.store.sqlite_connection import PAGE_SIZE, connect, fetch
from pillarbox.store.write_lock import WriteLock

log = structlog.get_logger()

EVERY = 1.0  # seconds
RESTART_AT = 32 * 1024 * 1024 // PAGE_SIZE  # frames; the log keeps about this size under load
TRUNCATE_AT = 256 * 1024 * 1024  # octets of a log that an old reader once let grow


class Checkpointer:
    """A thread of its own, so that a sync of the database file delays nobody."""

    def __init__(self, path: str, mark: Mark) -> None:
        self._path = path
        self._mark = mark
        self._lock = WriteLock(path)
        self._stop = threading.Event()
        self._leased = False
        self._connection: apsw.Connection | None = None
        self._version = -1
        self._done = True  # nothing was left over
        self._thread = threading.Thread(target=self._run, name="store-checkpointer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends within one checkpoint; blocks for that long."""
        self._stop.set()
        self._thread.join()
        if self._connection is not None:
            self._connection.close()
        self._lock.close()

    def _run(self) -> None:
        cores.roam()
        while not self._stop.wait(EVERY):
            try:
                self._tick()
            except (apsw.Error, StoreError) as error:
                log.warning("Checkpoint failed", error=str(error))

    def _tick(self) -> None:
        if not self._leased:
            self._leased = self._lock.become_checkpointer()
            if not self._leased:
                return
        if self._connection is None:
            self._connection = connect(self._path, "checkpointer")
        version = fetch(self._connection, "PRAGMA data_version")[0]
        if version != self._version or not self._done:  # an old reader may have gone since
            self._version = version
            frames, copied = checkpoint(self._connection, self._path, self._lock, self._mark)
            self._done = frames == copied and _size(self._path) <= TRUNCATE_AT


def _commits(connection: apsw.Connection) -> int:
    (counter,) = fetch(connection, "SELECT value FROM store_counters WHERE id = ?", (COMMITS,))
    assert isinstance(counter, int)
    return counter


def checkpoint(connection: apsw.Connection, path: str, lock: WriteLock, mark: Mark) -> tuple[int, int]:
    """One round. Frames in the log and frames of them copied. Raises apsw.Error."""
    counter = _commits(connection)
    _, frames, copied = fetch(connection, "PRAGMA wal_checkpoint(PASSIVE)")
    if frames == copied and counter <= _commits(connection):  # nobody has restored an older one meanwhile
        mark.checkpoint(counter)
    large = _size(path)
    if frames > RESTART_AT or large > TRUNCATE_AT:
        with lock, suppress(apsw.BusyError):  # busy: an old reader still needs the log; next time then
            how = "TRUNCATE" if large > TRUNCATE_AT else "RESTART"
            _, frames, copied = fetch(connection, f"PRAGMA wal_checkpoint({how})")
    return frames, copied


def _size(path: str) -> int:
    """Octets of the log."""
    try:
        return os.stat(path + "-wal").st_size
    except OSError:
        return 0
