"""What a reader of files finds, in the order in which it finds it."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import msgspec

LARGEST = 256 << 20  # octets of a message that is taken in; it stands in memory
TOO_LARGE = f"it has more than {LARGEST >> 20} MiB"
LINK = "it is a symbolic link"

_NUMBER = re.compile(r"[0-9]{1,10}")


class FoundFolder(msgspec.Struct, frozen=True):
    """A folder, before its messages. `name` has `/` between levels. `uidvalidity` 0: its messages have no UIDs."""

    name: str
    uidvalidity: int = 0
    uidnext: int = 0


class FoundMessage(msgspec.Struct, frozen=True):
    """A message with the line ends of SMTP. `origin` says where it was, for complaints; `read` how many octets of the
    files are behind it, for the progress.
    """

    folder: str
    origin: str
    data: bytes
    flags: int = 0
    keywords: tuple[str, ...] = ()
    date: int | None = None
    uid: int | None = None
    read: int = 0
    also: tuple[str, ...] = ()  # further folders that it is in


class Unreadable(msgspec.Struct, frozen=True):
    """Something that is no message or cannot be read; the rest goes on."""

    origin: str
    reason: str
    read: int = 0


Found = FoundFolder | FoundMessage | Unreadable


class NoSource(Exception):
    """There is nothing to take in at the place; the text is for the user."""


def number(text: str) -> int | None:
    """A UID or the like out of a file, None for what is none."""
    return int(text) if _NUMBER.fullmatch(text) else None


def no_file(path: Path) -> str:
    """Why what is found in a folder is not read; "" for a file.

    Users write into these folders, and who takes them in may read more than they: a link is not followed.
    """
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return LINK
    return "" if stat.S_ISREG(mode) else "it is no file"
