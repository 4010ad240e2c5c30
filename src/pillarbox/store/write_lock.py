"""Who may write to the database file next: a fair hand-over between the processes of one machine.

SQLite's own lock has no queue: who waits sleeps and polls, and the one who just committed gets it again. So a writer
first takes two locks on a file beside the database, as at a turnstile: the place at the front, then the lock itself,
then it gives the place away. Who releases the lock and wants it again stands behind whoever already waits at the
front.

They are open-file-description locks (fcntl(2)): the kernel frees them when a process dies, and two stores in one
process exclude each other like two processes. A third byte says who checkpoints, a fourth who has the store open.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from types import TracebackType

from pillarbox.store.files import open_beside

_TURN = 0
_FRONT = 1
_CHECKPOINTER = 2
_OPEN = 3

_FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux: type, whence, start, length, pid


def _lock_bytes(kind: int, byte: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0)


_LOCK_TURN = _lock_bytes(fcntl.F_WRLCK, _TURN)
_FREE_TURN = _lock_bytes(fcntl.F_UNLCK, _TURN)
_LOCK_FRONT = _lock_bytes(fcntl.F_WRLCK, _FRONT)
_FREE_FRONT = _lock_bytes(fcntl.F_UNLCK, _FRONT)
_LOCK_CHECKPOINTER = _lock_bytes(fcntl.F_WRLCK, _CHECKPOINTER)
_SHARE_OPEN = _lock_bytes(fcntl.F_RDLCK, _OPEN)
_LOCK_OPEN = _lock_bytes(fcntl.F_WRLCK, _OPEN)
_FREE_OPEN = _lock_bytes(fcntl.F_UNLCK, _OPEN)


class WriteLock:
    """`with lock:` around a write transaction. One instance a thread; blocks the thread, not the interpreter."""

    def __init__(self, database: str) -> None:
        self._fd = open_beside(database, ".lock")

    def __enter__(self) -> None:
        fd = self._fd
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _LOCK_FRONT)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _LOCK_TURN)
        finally:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FREE_FRONT)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FREE_TURN)

    def become_checkpointer(self) -> bool:
        """True when this is now the one that checkpoints, until `close` or death."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _LOCK_CHECKPOINTER)
        except OSError:
            return False
        return True

    def say_open(self) -> None:
        """The store is open here, until `close` or death."""
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLKW, _SHARE_OPEN)

    def have_alone(self) -> bool:
        """True when nobody says that he has the store open. Who wants to say so waits until `close` or death."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _LOCK_OPEN)
        except OSError:
            return False
        return True

    def nobody_has_it_open(self) -> bool:
        """Whether no process says that it has the store open. Not to be asked by one that says so."""
        if not self.have_alone():
            return False
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FREE_OPEN)
        return True

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._fd)
