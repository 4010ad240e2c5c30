"""The database file and what lies beside it: mode 0600, and owned by whoever owns the place.

A command run by root must not leave files that the server's own user cannot open. (SQLite does the same for `-wal`
and `-shm`.) The database itself is never opened here once SQLite has it: closing any descriptor of it would drop
SQLite's locks (see "How To Corrupt An SQLite Database File", 2.2).
"""

from __future__ import annotations

import os
from contextlib import suppress


def open_beside(database: str, suffix: str) -> int:
    """A descriptor of `database + suffix`, made when it is not there. Raises OSError."""
    fd = os.open(database + suffix, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _give_away(fd, database)
    return fd


def create_database(database: str) -> bool:
    """Make an empty database file, synced with its directory; False when there is one. Raises OSError."""
    try:
        fd = os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        _give_away(fd, os.path.dirname(os.path.abspath(database)))
    finally:
        os.close(fd)
    sync_directory(database)
    return True


def sync_directory(database: str) -> None:
    fd = os.open(os.path.dirname(os.path.abspath(database)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _give_away(fd: int, like: str) -> None:
    if os.geteuid() != 0:
        return
    with suppress(OSError):
        owner = os.stat(like)
        now = os.fstat(fd)
        if (now.st_uid, now.st_gid) != (owner.st_uid, owner.st_gid):
            os.fchown(fd, owner.st_uid, owner.st_gid)
