"""Reading a Maildir with all its folders: Maildir++ (`.Folder.Sub`) or folders in folders, as Dovecot and Courier have
them. UIDs come from `dovecot-uidlist`, keywords from `dovecot-keywords`, dates from the files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pillarbox.store.mailbox_names import DELIMITER, INBOX
from pillarbox.transfer import maildir_flags
from pillarbox.transfer.folder_names import from_disk
from pillarbox.transfer.found import (
    LARGEST,
    LINK,
    TOO_LARGE,
    Found,
    FoundFolder,
    FoundMessage,
    NoSource,
    Unreadable,
    no_file,
    number,
)
from pillarbox.transfer.line_ends import to_mail

_UIDLIST_HEADER = re.compile(r"3 (?:.*?)V([0-9]{1,10})\b(?:.*? N([0-9]{1,10})\b)?")
_PARTS = ("cur", "new")
_NOT_FOLDERS = {*_PARTS, "tmp"}


def size(root: Path) -> int:
    """Octets in the files of all folders. Raises NoSource."""
    total = 0
    for _, folder in folders(root):
        for part in _PARTS:
            try:
                with os.scandir(folder / part) as entries:
                    total += sum(entry.stat().st_size for entry in entries if entry.is_file(follow_symlinks=False))
            except OSError:
                continue
    return total


def folders(root: Path) -> list[tuple[str, Path]]:
    """Every folder by name. Raises NoSource."""
    if not root.is_dir():
        raise NoSource(f"there is no folder {root}")
    found = [(INBOX, root)] if _is_maildir(root) else []
    if found and (plus := [path for path in sorted(root.glob(".*")) if _is_maildir(path)]):
        found += [(DELIMITER.join(map(from_disk, path.name[1:].split("."))), path) for path in plus]
    else:
        found += _nested(root, "")
    if not found:
        raise NoSource(f"{root} is no Maildir: it has no cur and new, nor has any folder in it")
    return found


def _nested(folder: Path, above: str) -> list[tuple[str, Path]]:
    found = []
    for path in sorted(folder.iterdir()):
        if path.name in _NOT_FOLDERS or path.name.startswith(("dovecot", ".")) or not path.is_dir():
            continue
        name = above + from_disk(path.name)
        if _is_maildir(path):
            found.append((name, path))
        if not path.is_symlink():
            found += _nested(path, name + DELIMITER)
    return found


def _is_maildir(path: Path) -> bool:
    """Also without the empty one of the two, which many a backup leaves out."""
    return any((path / part).is_dir() for part in _PARTS)


def subscriptions(root: Path) -> list[str]:
    """Names of the folders that are subscribed to, by Dovecot's or Courier's list."""
    for name in ("subscriptions", "courierimapsubscribed"):
        try:
            lines = (root / name).read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            continue
        if lines[:1] and lines[0].startswith("V\t2"):  # levels are separated by tabs
            return [DELIMITER.join(map(from_disk, line.split("\t"))) for line in lines[2:] if line]
        # Levels are separated as in the names of the folders, and a level may be INBOX for Courier.
        names = [line.removeprefix("INBOX.") if "courier" in name else line for line in lines]
        return [DELIMITER.join(map(from_disk, re.split(r"[./]", line))) for line in names if line]
    return []


def read(root: Path) -> Iterator[Found]:
    """Every folder with its messages, by UID where there are any, else in order of arrival. Raises NoSource."""
    octets = 0
    for name, folder in folders(root):
        if folder != root and folder.is_symlink():
            yield Unreadable(str(folder), LINK, octets)
            continue
        uidvalidity, uidnext, uids = _uidlist(folder)
        yield FoundFolder(name, uidvalidity, uidnext)
        keywords = _keywords(folder)
        for path, info in _messages(folder, uids):
            unique, flags, words = maildir_flags.read(path.name, keywords)
            octets += info.st_size
            try:
                if reason := no_file(path):
                    yield Unreadable(str(path), reason, octets)
                    continue
                if info.st_size > LARGEST:
                    yield Unreadable(str(path), TOO_LARGE, octets)
                    continue
                data = path.read_bytes()
            except OSError as error:
                yield Unreadable(str(path), error.strerror or str(error), octets)
                continue
            uid = uids.get(unique)
            yield FoundMessage(name, str(path), to_mail(data), flags, words, int(info.st_mtime), uid, octets)


def _messages(folder: Path, uids: dict[str, int]) -> list[tuple[Path, os.stat_result]]:
    found = []
    for part in _PARTS:
        if not (folder / part).is_dir():
            continue
        with os.scandir(folder / part) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False):
                    found.append((folder / part / entry.name, entry.stat(follow_symlinks=False)))
    last = max(uids.values(), default=0) + 1
    return sorted(
        found, key=lambda one: (uids.get(one[0].name.partition(":2,")[0], last), one[1].st_mtime, one[0].name)
    )


def _uidlist(folder: Path) -> tuple[int, int, dict[str, int]]:
    """UIDVALIDITY, UIDNEXT and the UID of each unique name; zeros and nothing without the list."""
    try:
        lines = (folder / "dovecot-uidlist").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return 0, 0, {}
    header = _UIDLIST_HEADER.match(lines[0]) if lines else None
    if header is None:
        return 0, 0, {}
    uids = {}
    for line in lines[1:]:
        before, _, name = line.partition(" :")
        uid = number(before.split(" ", 1)[0])
        if name and uid is not None:
            uids[name.partition(":2,")[0]] = uid
    return int(header[1]), int(header[2] or 0), uids


def _keywords(folder: Path) -> list[str]:
    """Keyword by letter."""
    found: dict[int, str] = {}
    try:
        for line in (folder / "dovecot-keywords").read_text("utf-8", "replace").splitlines():
            before, _, word = line.partition(" ")
            position = number(before)
            if position is not None and position < maildir_flags.MOST_KEYWORDS:
                found[position] = word
    except OSError:
        return []
    return [found.get(position, "") for position in range(max(found, default=-1) + 1)]
