"""Writing mbox files (mboxrd), one for each mailbox, levels as folders: `Work/2024` becomes `Work/2024.mbox`.

A file is written beside its place and put there when it is whole. A second run passes over mailboxes that are unchanged
and writes the others anew, so nothing is in a file twice; `.pillarbox-export.json` remembers what is there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from pillarbox.imap.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from pillarbox.store.exports import Leaving
from pillarbox.store.mailbox_names import DELIMITER
from pillarbox.store.records import Mailbox
from pillarbox.transfer import mbox_marks
from pillarbox.transfer.export import ExportCount
from pillarbox.transfer.line_ends import to_file

_STATE = ".pillarbox-export.json"
_QUOTE = re.compile(rb"^(>*From )", re.M)
_RETURN_PATH = re.compile(rb"\AReturn-Path: <([^\s>]{1,320})>", re.I)
_X_STATUS = ((ANSWERED, "A"), (FLAGGED, "F"), (DRAFT, "T"), (DELETED, "D"))


class MboxWriter:
    def __init__(self, root: Path) -> None:
        self.warnings: list[str] = []
        self._root = root
        self._file: IO[bytes] | None = None
        self._half = self._path = root
        self._box: Mailbox | None = None
        self._empty = True
        try:
            self._state = msgspec.json.decode((root / _STATE).read_bytes(), type=dict[str, tuple[int, int, int]])
        except (OSError, msgspec.MsgspecError):
            self._state = {}

    def begin(self, mailbox: Mailbox) -> bool:
        self._box = mailbox
        levels = [_safe(level) for level in mailbox.name.split(DELIMITER)]
        self._path = self._root.joinpath(*levels[:-1], levels[-1] + ".mbox")
        there = self._state.get(str(self._path.relative_to(self._root)))
        if there is not None and there[:2] == (mailbox.uidvalidity, mailbox.highestmodseq):
            try:
                if self._path.stat().st_size == there[2]:
                    return False
            except FileNotFoundError:
                pass
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._half = self._path.with_name(f".{self._path.name}.part")
        self._file = open(os.open(self._half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")  # noqa: SIM115
        self._empty = True
        return True

    def wanted(self, message: Leaving) -> bool:
        return True

    def put(self, message: Leaving, data: bytes) -> None:
        assert self._file is not None
        # Marks that came with the message would be taken for ours, and might say that it is deleted.
        stored = _QUOTE.sub(rb">\1", to_file(mbox_marks.take_out(data)[0]))
        end = b"\n" if stored.endswith(b"\n") else b"\n\n"
        self._file.write(_from_line(message) + self._marks(message) + stored + end)
        self._empty = False

    def end(self, count: ExportCount) -> None:
        assert self._file is not None
        assert self._box is not None
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        self._file = None
        self._half.replace(self._path)
        count.place = str(self._path)
        self._state[str(self._path.relative_to(self._root))] = (self._box.uidvalidity, self._box.highestmodseq, size)
        half = self._root / f"{_STATE}.part"
        half.write_bytes(msgspec.json.encode(self._state))
        half.replace(self._root / _STATE)

    def finish(self, subscribed: Sequence[str]) -> None:
        os.sync()

    def _marks(self, message: Leaving) -> bytes:
        """What mail programs keep in the header of a message in an mbox; `mbox_marks` takes it out again."""
        assert self._box is not None
        lines = [f"X-IMAPbase: {self._box.uidvalidity} {self._box.uidnext - 1}"] if self._empty else []
        lines.append(f"X-UID: {message.uid}")
        lines.append("Status: RO" if message.flags & SEEN else "Status: O")
        if letters := "".join(letter for bit, letter in _X_STATUS if message.flags & bit):
            lines.append(f"X-Status: {letters}")
        if message.keywords:
            lines.append("X-Keywords: " + " ".join(message.keywords))
        return "".join(f"{line}\n" for line in lines).encode()


def _from_line(message: Leaving) -> bytes:
    found = _RETURN_PATH.match(message.prefix)
    sender = found[1] if found else b"MAILER-DAEMON"
    return b"From %s %s\n" % (sender, time.asctime(time.gmtime(message.date)).encode())


def _safe(level: str) -> str:
    """A level as the name of a file; hidden ones would not be found again."""
    return "_" + level[1:] if level.startswith(".") else level
