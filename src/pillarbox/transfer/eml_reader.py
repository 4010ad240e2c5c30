"""Reading messages that are a file each: `.eml` files, alone or in a tree whose folders become mailboxes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pillarbox.imap.flags import SEEN
from pillarbox.store.mailbox_names import DELIMITER, INBOX
from pillarbox.transfer.arrival import arrival
from pillarbox.transfer.found import (
    LARGEST,
    TOO_LARGE,
    Found,
    FoundFolder,
    FoundMessage,
    NoSource,
    Unreadable,
    no_file,
)
from pillarbox.transfer.line_ends import to_mail

SUFFIXES = (".eml", ".msg.txt")


def files(root: Path) -> list[tuple[str, list[Path]]]:
    """Folders with their files, those at the top as INBOX. Raises NoSource."""
    if root.is_file():
        return [(INBOX, [root])]
    if not root.is_dir():
        raise NoSource(f"there is no file {root}")
    found = []
    for place, below, names in os.walk(root):
        below.sort()
        mine = [Path(place, name) for name in sorted(names) if name.lower().endswith(SUFFIXES)]
        if mine:
            name = DELIMITER.join(Path(place).relative_to(root).parts)
            found.append((name or INBOX, mine))
    if not found:
        raise NoSource(f"{root} has no .eml file in it")
    return found


def size(root: Path) -> int:
    return sum(path.lstat().st_size for _, paths in files(root) for path in paths)


def read(root: Path) -> Iterator[Found]:
    """Every message, as seen: a file says nothing of flags. Raises NoSource."""
    octets = 0
    for name, paths in files(root):
        yield FoundFolder(name)
        for path in paths:
            try:
                if path != root and (reason := no_file(path)):
                    yield Unreadable(str(path), reason, octets)
                    continue
                info = path.stat()
                octets += info.st_size
                if info.st_size > LARGEST:
                    yield Unreadable(str(path), TOO_LARGE, octets)
                    continue
                data = to_mail(path.read_bytes())
            except OSError as error:
                yield Unreadable(str(path), error.strerror or str(error), octets)
                continue
            yield FoundMessage(name, str(path), data, SEEN, (), arrival(data, int(info.st_mtime)), None, octets)
