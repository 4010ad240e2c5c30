"""Room in the write-ahead log, made before commits need it.

To sync a file that grew the file system has to commit its journal too: on ext4 ten times the cost of a sync into blocks
that are there and written. So the log grows in steps, filled with zeros (blocks that are merely allocated have to be
journalled when they are first written). SQLite starts over at its beginning when all of it is in the database file,
and does not mind what lies behind the last frame.

Frames begin and end in the middle of the system's pages. One that is not in memory any more, since the log was last
there, would have to be read for that, and the commit waits: so what comes next is asked for, some megabytes at a time.
"""

from __future__ import annotations

import os

import apsw

from pillarbox.store.sqlite_connection import PAGE_SIZE

STEP = 4 * 1024 * 1024  # octets
AHEAD = 512 * 1024  # octets of room below which the next step is made
NEAR = 2 * 1024 * 1024  # octets behind the end that are asked for, as soon as half of them are used up
_HEADER, _FRAME = 32, PAGE_SIZE + 24  # octets, see SQLite's "WAL file format"
_ZEROS = bytes(256 * 1024)


class LogSpace:
    """The log of one database as one writer sees it. Used under SQLite's write lock."""

    def __init__(self, path: str, connection: apsw.Connection) -> None:
        self._path = path + "-wal"
        self._end = 0  # of the last commit of this writer
        self._enough = 0  # an end up to which nothing is to be done
        connection.set_wal_hook(self._committed)

    def make(self) -> None:
        """Make room if there is little, and have it in memory. A full disk is for the commit to find."""
        if self._end < self._enough:
            return
        try:
            log = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            size = os.fstat(log).st_size  # another writer may have made room
            if size < self._end + AHEAD:
                for at in range(size, size + STEP, len(_ZEROS)):
                    os.pwrite(log, _ZEROS, at)
                size += STEP
            os.posix_fadvise(log, self._end, NEAR, os.POSIX_FADV_WILLNEED)
        except OSError:
            size = self._end + STEP  # no room now: the next try is a step later
        finally:
            os.close(log)
        self._enough = min(size - AHEAD, self._end + NEAR // 2)

    def _committed(self, connection: apsw.Connection, name: str, frames: int) -> int:
        end = _HEADER + frames * _FRAME
        if end < self._end:  # it was started over, and may have been cut
            self._enough = 0
        self._end = end
        return 0
