"""The high-water mark: how a database that went back in time is noticed.

Every group commit adds one to a counter in the database. A small file beside it (`smtp.db.mark`, mapped into memory)
holds the store's id and numbers that never go down:

- `committed`: the counter of the last commit, written after it and before the write lock is given on. It is not
  synced: it survives the death of every process, and after a power loss it may be older than the truth, never newer.
- `reserved`: synced before the counter passes it, in blocks of 10,000; so after a power loss the truth is known to a
  block.
- `uidvalidity`: the greatest UIDVALIDITY ever given.
- `checkpointed`: up to where the database file alone has everything, without its log (see `stale_log`).

A database whose counter is behind `committed`, or more than a block behind `reserved`, or that has another id, or no
mark at all, was put there by somebody (`cp` of a backup): UIDs given since then must not be given to other messages.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from enum import Enum

from pillarbox.store.files import open_beside, sync_directory

BLOCK = 10_000
COMMITS, UIDVALIDITY = 1, 2  # rows of store_counters

_MAGIC = int.from_bytes(b"PBoxMrk1", "little")
_SIZE = 4096
_M, _ID_LOW, _ID_HIGH, _RESERVED, _COMMITTED, _UIDVALIDITY, _CHECKPOINTED = range(7)


class Verdict(Enum):
    SAME = "same"
    NEW = "no mark"  # nothing is known about the past: a backup on a new machine looks like this
    BEHIND = "behind its mark"
    OTHER = "another store"


class Mark:
    """The mapped file. Written only under the write lock; an aligned 8-byte store is never half done."""

    def __init__(self, database: str) -> None:
        fd = open_beside(database, ".mark")
        try:
            if os.fstat(fd).st_size < _SIZE:
                os.posix_fallocate(fd, 0, _SIZE)  # real blocks: a full disk later must not be a SIGBUS
                os.fsync(fd)
                sync_directory(database)
            self._map = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
        self._words = memoryview(self._map).cast("Q")

    @property
    def is_new(self) -> bool:
        return self._words[_M] != _MAGIC

    @property
    def store_id(self) -> str:
        return f"{self._words[_ID_HIGH]:016x}{self._words[_ID_LOW]:016x}"

    @property
    def reserved(self) -> int:
        return self._words[_RESERVED]

    @property
    def committed(self) -> int:
        return self._words[_COMMITTED]

    @property
    def uidvalidity(self) -> int:
        return self._words[_UIDVALIDITY]

    @property
    def checkpointed(self) -> int:
        return self._words[_CHECKPOINTED]

    def snapshot(self) -> tuple[bool, str, int, int]:
        """For `judge`: taken before the database's counter is read, since others may be writing."""
        return self.is_new, self.store_id, self.committed, self.reserved

    def adopt(self, store_id: str, counter: int, uidvalidity: int) -> None:
        """Begin (again) with this database, whose counter is above everything here. Synced."""
        number = int(store_id, 16)
        words = self._words
        words[_ID_LOW] = number & 0xFFFFFFFFFFFFFFFF
        words[_ID_HIGH] = number >> 64
        words[_RESERVED] = counter + BLOCK
        words[_COMMITTED] = counter
        words[_UIDVALIDITY] = max(words[_UIDVALIDITY], uidvalidity)
        words[_CHECKPOINTED] = 0
        words[_M] = _MAGIC
        self._map.flush()

    def reserve(self, counter: int) -> None:
        """Before a commit with this counter: make sure it is within what is reserved. Raises OSError."""
        if counter > self._words[_RESERVED]:
            self._words[_RESERVED] = counter + BLOCK
            self._map.flush()

    def commit(self, counter: int, uidvalidity: int) -> None:
        """After the commit, still under the write lock."""
        words = self._words
        words[_COMMITTED] = counter
        words[_UIDVALIDITY] = max(words[_UIDVALIDITY], uidvalidity)

    def checkpoint(self, counter: int) -> None:
        """The database file has on the disk whatever was committed up to this counter."""
        self._words[_CHECKPOINTED] = max(self._words[_CHECKPOINTED], counter)

    def forget_checkpoint(self) -> None:
        """The file is another one now, with less in it."""
        self._words[_CHECKPOINTED] = 0

    def close(self) -> None:
        with suppress(BufferError, ValueError):
            self._words.release()
            self._map.close()


def judge(snapshot: tuple[bool, str, int, int], store_id: str, counter: int) -> Verdict:
    """Compare what `Mark.snapshot` gave with what was read in the database afterwards."""
    is_new, marked_id, committed, reserved = snapshot
    if is_new:
        return Verdict.NEW
    if marked_id != store_id:
        return Verdict.OTHER
    # A block is reserved just before its first number is committed: the database is never further behind than this.
    if counter < committed or counter + BLOCK + 1 < reserved:
        return Verdict.BEHIND
    return Verdict.SAME
