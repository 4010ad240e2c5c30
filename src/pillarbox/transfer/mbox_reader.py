"""Reading mbox files: one, or a tree of them with a folder for each (also Thunderbird's `.sbd` and Apple's `.mbox`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pillarbox.store.mailbox_names import DELIMITER, INBOX
from pillarbox.transfer import mbox_marks, mbox_stream
from pillarbox.transfer.arrival import arrival
from pillarbox.transfer.found import TOO_LARGE, Found, FoundFolder, FoundMessage, NoSource, Unreadable, no_file
from pillarbox.transfer.line_ends import to_mail

_SUFFIXES = (".mbox", ".mbx")
_INBOXES = {"inbox", "mbox"}


def folders(root: Path) -> list[tuple[str, Path]]:
    """Every mbox file with the name of its folder. Raises NoSource."""
    if root.is_file():
        return [(_name(root.name), root)]
    if not root.is_dir():
        raise NoSource(f"there is no file {root}")
    found = _below(root, "")
    if not found:
        raise NoSource(f"{root} has no mbox file in it")
    return found


def size(root: Path) -> int:
    """Octets of all files. Raises NoSource."""
    return sum(path.lstat().st_size for _, path in folders(root))


def _below(folder: Path, above: str) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_symlink():
            if path.is_dir() or _looks_like_one(path):
                found.append((above + _name(path.name), path))
        elif path.is_dir():
            if (path / "mbox").is_file():  # Apple Mail's export
                found.append((above + _name(path.name), path / "mbox"))
            else:
                found += _below(path, above + path.name.removesuffix(".sbd") + DELIMITER)
        elif _looks_like_one(path):
            found.append((above + _name(path.name), path))
    return found


def _name(file: str) -> str:
    for suffix in _SUFFIXES:
        file = file.removesuffix(suffix)
    return INBOX if file.lower() in _INBOXES else file


def _looks_like_one(path: Path) -> bool:
    if not path.is_file():
        return False  # opening a named pipe would wait for its other end
    try:
        with path.open("rb") as file:
            first = file.read(64).lstrip(b"\r\n")
    except OSError:
        return False
    return first.startswith(b"From ") or (not first and path.suffix in _SUFFIXES)


def read(root: Path) -> Iterator[Found]:
    """Every folder with its messages, in their order. Raises NoSource."""
    before = 0
    for name, path in folders(root):
        try:
            if path != root and (reason := no_file(path)):
                yield Unreadable(str(path), reason)
                continue
            with path.open("rb") as stream:
                yield from _file(name, path, stream, before)
            before += path.stat().st_size
        except mbox_stream.NoMbox as error:
            yield Unreadable(str(path), f"it is no mbox: {error}")
        except OSError as error:
            yield Unreadable(str(path), error.strerror or str(error))


def _file(name: str, path: Path, stream: IO[bytes], before: int) -> Iterator[Found]:
    begun = False
    last = 0  # UID
    for number, piece in enumerate(mbox_stream.cut(stream), 1):
        origin, read = f"{path}, message {number}", before + piece.end
        data, marks = (None, mbox_marks.Marks()) if piece.data is None else mbox_marks.take_out(to_mail(piece.data))
        if not begun:
            begun = True
            yield FoundFolder(name, marks.uidvalidity, marks.uidnext)
        if data is None:
            yield Unreadable(origin, TOO_LARGE, read)
        elif not marks.hidden and not (marks.internal and number == 1):
            date = mbox_stream.moment_of(piece.from_line)
            uid = marks.uid if marks.uid and marks.uid > last else None
            last = uid or last
            date = arrival(data) if date is None else date
            yield FoundMessage(name, origin, data, marks.flags, marks.keywords, date, uid, read)
    if not begun:
        yield FoundFolder(name)
