"""Taking a file of the spool folder: anybody may have put it there, and anything may be in it.

Nothing but a regular file with one name is opened for good. A claim is a lock on the file, which the kernel frees when
its holder dies; so of two workers one has it, and after a crash the next one.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from .maildrop import FOLDER_MODE, MAGIC, MAX_ENVELOPE, UNFINISHED, BadFile, Envelope, read_envelope

MOST = 500  # files of one look at the folder
MOST_ENTRIES = 20_000  # that are looked at for them
MOST_ASIDE = 1000  # files that are set aside and kept
STALE = 36 * 3600.0  # seconds after which an unfinished file is a dead one's
PIECE = 1 << 16
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")


class NoMail(Exception):
    """What has this name is no file that could be a message; the text says what it is."""


class Claim(NamedTuple):
    """A file that is ours. `offset` is where its content begins."""

    name: str
    descriptor: int
    uid: int
    envelope: Envelope
    offset: int

    def close(self) -> None:
        os.close(self.descriptor)

    def pieces(self) -> Iterator[bytes]:
        """The content. Raises BadFile when it is shorter, or no text that mail can carry; OSError."""
        os.lseek(self.descriptor, self.offset, os.SEEK_SET)
        left, held = self.envelope.size, b""
        while left:
            data = os.read(self.descriptor, min(PIECE, left))
            if not data:
                raise BadFile("it has become shorter")
            left -= len(data)
            data = held + data
            held = b"\r" if left and data.endswith(b"\r") else b""
            if held:
                data = data[:-1]
            if _BARE.search(data):
                raise BadFile("it holds a NUL, or a CR or LF by itself")
            yield data


def prepare_folder(folder: str) -> None:
    """Make the folder, ours and as `maildrop` wants it. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, "there is something else than a folder", folder)
    if found.st_uid != os.geteuid():
        raise PermissionError(1, f"it belongs to uid {found.st_uid} and must be the server's own", folder)
    if stat.S_IMODE(found.st_mode) != FOLDER_MODE:
        os.chmod(folder, FOLDER_MODE)


def waiting(folder: str, now: float) -> list[str]:
    """Names of whole files, some of them when there are many. Removes what a dead `sendmail` left half written."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in islice(entries, MOST_ENTRIES):
            if not entry.name.startswith(UNFINISHED):
                names.append(entry.name)
                continue
            with suppress(OSError):
                if now - entry.stat(follow_symlinks=False).st_mtime > STALE:
                    os.unlink(entry.path)
    random.shuffle(names)  # files that somebody keeps locked must not stand before all others
    return names[:MOST]


def claim(folder: str, name: str, limit: int) -> Claim | None:
    """Open and lock the file; None when it is gone or another's. `limit`: octets of a message.

    Raises NoMail, BadFile, OSError.
    """
    path = os.path.join(folder, name)
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        if kind := _kind(path):
            raise NoMail(kind) from error
        raise BadFile(f"it cannot be opened: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NoMail(_kind(path))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        found = os.fstat(descriptor)
        if found.st_nlink == 0:  # the one who had the lock has taken it in
            os.close(descriptor)
            return None
        if found.st_nlink != 1:
            raise NoMail("a file with several names")
        if not _NAME.fullmatch(name):
            raise BadFile("its name is no name of a message")
        envelope, offset = _head(descriptor, found.st_size, limit)
        return Claim(name, descriptor, found.st_uid, envelope, offset)
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise


def _head(descriptor: int, size: int, limit: int) -> tuple[Envelope, int]:
    if size > limit + MAX_ENVELOPE + len(MAGIC):
        raise BadFile(f"it is larger than a message may be ({limit} octets)")
    head = b""
    while len(head) < MAX_ENVELOPE + len(MAGIC) and head.count(b"\n") < 2:
        data = os.read(descriptor, PIECE)
        if not data:
            break
        head += data
    envelope, offset = read_envelope(head)
    if size - offset != envelope.size:
        raise BadFile(f"it has {size - offset} octets of content and not {envelope.size}")
    if envelope.size > limit:
        raise BadFile(f"it is larger than a message may be ({limit} octets)")
    return envelope, offset


def _kind(path: str) -> str:
    """What is no regular file, in words; "" for one that is."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return ""
    for test, word in _KINDS:
        if test(mode):
            return word
    return ""


def remove(folder: str, name: str) -> None:
    """Away with it, whatever it is; an empty folder too. Raises OSError."""
    path = os.path.join(folder, name)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        os.rmdir(path)


def set_aside(folder: str, name: str) -> str:
    """Out of the way into a folder of our own beside this one; where it is now. When that holds many the file is gone
    for good, since anybody may make more. Raises OSError."""
    beside = f"{folder}.refused"
    with suppress(FileExistsError):
        os.mkdir(beside, 0o700)
    if len(os.listdir(beside)) >= MOST_ASIDE:
        os.unlink(os.path.join(folder, name))
        return "nowhere: there are too many already"
    to = os.path.join(beside, name)
    os.rename(os.path.join(folder, name), to)
    return to


def sync(folder: str) -> None:
    """What was removed from the folder stays so after a power loss. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
