"""The database file and what lies beside it: mode 0600, and owned by whoever owns the place.

A command run by root must not leave files that the server's own user cannot open. (SQLite does the same for `-wal`
and `-shm`.) The database itself is never opened here once SQLite has it: closing any descriptor of it would drop
SQLite's locks (see "How To Corrupt An SQLite Database File", 2.2).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pillarbox.store.errors import Conflict, IoFault

PARTIAL = ".partial"  # what a database is called until it is whole


def open_beside(database: str, suffix: str) -> int:
    """A descriptor of `database + suffix`, made when it is not there. Raises OSError."""
    fd = os.open(database + suffix, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _give_away(fd, database if os.path.exists(database) else _folder(database))
    return fd


def create_database(database: str) -> bool:
    """Make an empty database file, synced with its directory; False when there is one. Raises OSError."""
    try:
        fd = os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        _give_away(fd, _folder(database))
    finally:
        os.close(fd)
    sync_directory(database)
    return True


@contextmanager
def appearing(target: str) -> Iterator[str]:
    """`with appearing(target) as partial:` a database is made under another name: at `target` it is only once it is
    whole. Raises Conflict when it exists, IoFault.
    """
    if os.path.exists(target):
        raise Conflict(f"{target} exists")
    partial = target + PARTIAL
    try:
        if not create_database(partial):
            raise Conflict(f"{partial} exists: another copy is being made, or one was killed (then remove it)")
        try:
            yield partial
            os.rename(partial, target)
        except BaseException:
            for suffix in ("", "-journal"):
                with suppress(OSError):
                    os.unlink(partial + suffix)
            raise
        sync_directory(target)
    except OSError as error:
        raise IoFault(f"{error.filename or target}: {error.strerror}") from error


def sync_directory(database: str) -> None:
    fd = os.open(_folder(database), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _folder(database: str) -> str:
    return os.path.dirname(os.path.abspath(database))


def _give_away(fd: int, like: str) -> None:
    if os.geteuid() != 0:
        return
    with suppress(OSError):
        owner = os.stat(like)
        now = os.fstat(fd)
        if (now.st_uid, now.st_gid) != (owner.st_uid, owner.st_gid):
            os.fchown(fd, owner.st_uid, owner.st_gid)
