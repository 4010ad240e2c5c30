"""Reading what Google Takeout gives of Gmail: mbox files whose messages name their labels, unpacked, as .zip or .tgz.

A message lies in the mailbox that its system label says (trash, spam, drafts, sent, inbox) and in one for each label of
the user's own; with none of them in Archive. Its octets are stored once. Takeout writes the system labels in the
language of the account: English and German are known here, of others they become mailboxes of that name.
"""

from __future__ import annotations

import csv
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pillarbox.imap.flags import DRAFT, FLAGGED, SEEN
from pillarbox.mime.header import decoded_value
from pillarbox.store.mailbox_names import INBOX
from pillarbox.transfer import mbox_stream
from pillarbox.transfer.arrival import arrival, header_of
from pillarbox.transfer.found import TOO_LARGE, Found, FoundFolder, FoundMessage, NoSource, Unreadable
from pillarbox.transfer.line_ends import to_mail

ARCHIVE = "Archive"
# RuntimeError: an encrypted member of a .zip
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
_PLACES = {  # the first that is there says where the message lies
    "trash": "Trash", "papierkorb": "Trash",
    "spam": "Junk",
    "drafts": "Drafts", "draft": "Drafts", "entwürfe": "Drafts",
    "sent": "Sent", "gesendet": "Sent",
    "inbox": INBOX, "posteingang": INBOX,
}  # fmt: skip
_ORDER = ("Trash", "Junk", "Drafts", "Sent", INBOX)
_UNREAD = {"unread", "ungelesen"}
_STARRED = {"starred", "markiert"}
_IMPORTANT = {"important", "wichtig"}
_NO_PLACE = {"opened", "geöffnet", "archived", "archiviert", "chat", "chats", "category", "kategorie"}


def read(root: Path) -> Iterator[Found]:
    """Every message of every mbox of a Takeout. Raises NoSource."""
    seen: set[str] = set()
    before = 0
    try:
        for origin, stream in _open(root):
            end = 0
            try:
                for number, piece in enumerate(mbox_stream.cut(stream), 1):
                    end = piece.end
                    found = _message(f"{origin}, message {number}", piece, before)
                    if isinstance(found, FoundMessage):
                        for folder in {found.folder, *found.also} - seen:
                            seen.add(folder)
                            yield FoundFolder(folder)
                    yield found
            except mbox_stream.NoMbox as error:
                yield Unreadable(origin, f"it is no mbox: {error}")
            before += end
    except _BROKEN as error:
        yield Unreadable(str(root), f"the archive is broken: {error}")


def size(root: Path) -> int:
    """Octets of all mbox files. Raises NoSource."""
    if root.is_dir():
        return sum(path.stat().st_size for path in _mboxes(root))
    if zipfile.is_zipfile(root):
        with zipfile.ZipFile(root) as archive:
            return sum(info.file_size for info in archive.infolist() if info.filename.endswith(".mbox"))
    return 0  # a .tgz would have to be read twice


def labels(header: bytes) -> list[str]:
    """The labels of a message."""
    text = ",".join(decoded_value(header, b"x-gmail-labels"))
    return [label.strip() for label in next(csv.reader([text]), []) if label.strip()] if text else []


def sort_labels(names: list[str]) -> tuple[str, list[str], int, tuple[str, ...]]:
    """Where a message lies, further folders, flags and keywords."""
    flags, keywords = SEEN, []
    places, own = set(), []
    for name in names:
        key = name.lower()
        if key in _PLACES:
            places.add(_PLACES[key])
        elif key in _UNREAD:
            flags &= ~SEEN
        elif key in _STARRED:
            flags |= FLAGGED
        elif key in _IMPORTANT:
            keywords.append("$Important")
        elif key.split(" ", 1)[0].split(":", 1)[0] not in _NO_PLACE and name not in own:
            own.append(name)
    if "Drafts" in places:
        flags |= DRAFT
    folders = [place for place in _ORDER if place in places][:1] + own
    if not folders:
        folders = [ARCHIVE]
    if folders[0] in ("Trash", "Junk"):
        folders = folders[:1]
    return folders[0], folders[1:], flags, tuple(keywords)


def _message(origin: str, piece: mbox_stream.Cut, before: int) -> Found:
    read = before + piece.end
    if piece.data is None:
        return Unreadable(origin, TOO_LARGE, read)
    data = to_mail(piece.data)
    folder, also, flags, keywords = sort_labels(labels(header_of(data)))
    date = mbox_stream.moment_of(piece.from_line)
    date = arrival(data) if date is None else date
    return FoundMessage(folder, origin, data, flags, keywords, date, None, read, tuple(also))


def _mboxes(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.mbox") if path.is_file() and not path.is_symlink())


def _open(root: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if root.is_dir():
        if not (paths := _mboxes(root)):
            raise NoSource(f"{root} has no .mbox file in it")
        for path in paths:
            with path.open("rb") as stream:
                yield str(path), stream
    elif not root.is_file():
        raise NoSource(f"there is no file {root}")
    elif zipfile.is_zipfile(root):
        with zipfile.ZipFile(root) as archive:
            names = [name for name in archive.namelist() if name.endswith(".mbox")]
            if not names:
                raise NoSource(f"{root} has no .mbox file in it")
            for name in names:
                with archive.open(name) as inside:
                    yield f"{root}: {name}", inside
    elif tarfile.is_tarfile(root):
        found = False
        with tarfile.open(root, "r|*") as tape:
            for member in tape:
                if member.isfile() and member.name.endswith(".mbox"):
                    unpacked = tape.extractfile(member)
                    assert unpacked is not None
                    found = True
                    yield f"{root}: {member.name}", unpacked
        if not found:
            raise NoSource(f"{root} has no .mbox file in it")
    elif root.suffix == ".mbox":
        with root.open("rb") as stream:
            yield str(root), stream
    else:
        raise NoSource(f"{root} is no folder, .mbox, or whole .zip or .tgz")
