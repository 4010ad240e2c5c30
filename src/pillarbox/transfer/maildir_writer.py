"""Writing a Maildir++ that Dovecot, Courier and mutt open as it is: with Dovecot's lists of UIDs and keywords.

A message has one name for ever, made of its date, UID and UIDVALIDITY, so a second run finds what is there; only flags
in the name change. Files of messages that are gone in the account stay.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pillarbox.store.exports import Leaving
from pillarbox.store.mailbox_names import DELIMITER, INBOX
from pillarbox.store.records import Mailbox
from pillarbox.transfer import maildir_flags
from pillarbox.transfer.export import ExportCount
from pillarbox.transfer.folder_names import to_disk
from pillarbox.transfer.line_ends import to_file

_OURS = ".pillarbox"


class MaildirWriter:
    def __init__(self, root: Path) -> None:
        self.warnings: list[str] = []
        self._root = root
        self._folder = root
        self._box: Mailbox | None = None
        self._there: dict[str, Path] = {}  # by unique name without sizes
        self._keywords: list[str] = []
        self._uids: list[tuple[int, str]] = []
        self._places: dict[Path, str] = {}

    def begin(self, mailbox: Mailbox) -> bool:
        self._box = mailbox
        self._folder = self._place(mailbox.name)
        for part in ("tmp", "new", "cur"):
            (self._folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._folder != self._root:
            (self._folder / "maildirfolder").touch(0o600)
        self._uids = []
        self._keywords = []
        self._there = {}
        for part in ("cur", "new"):
            for path in (self._folder / part).iterdir():
                key, mark, _ = path.name.partition(_OURS)
                if mark:
                    self._there[key] = path
        return True

    def wanted(self, message: Leaving) -> bool:
        path = self._there.pop(self._key(message), None)
        if path is None:
            return True
        base = path.name.partition(":2,")[0]
        target = self._folder / "cur" / f"{base}:2,{self._letters(message)}"
        if target != path:
            path.rename(target)
        self._uids.append((message.uid, base))
        return False

    def put(self, message: Leaving, data: bytes) -> None:
        stored = to_file(data)
        base = f"{self._key(message)}{_OURS},S={len(stored)},W={len(data)}"
        half = self._folder / "tmp" / base
        fd = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "wb") as file:
            file.write(stored)
        os.utime(half, (message.date, message.date))
        half.rename(self._folder / "cur" / f"{base}:2,{self._letters(message)}")
        self._uids.append((message.uid, base))

    def end(self, count: ExportCount) -> None:
        box = self._box
        assert box is not None
        count.place, count.left_over = str(self._folder), len(self._there)
        lines = [f"3 V{box.uidvalidity} N{box.uidnext}", *(f"{uid} :{base}" for uid, base in self._uids)]
        _replace(self._folder / "dovecot-uidlist", lines)
        _replace(self._folder / "dovecot-keywords", [f"{at} {word}" for at, word in enumerate(self._keywords)])

    def finish(self, subscribed: Sequence[str]) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(self._root / "subscriptions", [self._dotted(name) for name in subscribed])
        os.sync()

    def _letters(self, message: Leaving) -> str:
        before = len(self._keywords)
        letters = maildir_flags.letters(message.flags, message.keywords, self._keywords)
        lost = [word for word in message.keywords if word not in self._keywords and word != maildir_flags.FORWARDED]
        if lost and before == maildir_flags.MOST_KEYWORDS:
            self.warnings.append(f"{self._folder}: message {message.uid} loses the keyword {lost[0]}: 26 are the most")
        return letters

    def _key(self, message: Leaving) -> str:
        assert self._box is not None
        return f"{message.date}.P{message.uid}V{self._box.uidvalidity}"

    def _place(self, name: str) -> Path:
        if name == INBOX:
            return self._root
        path = self._root / f".{self._dotted(name)}"
        while path in self._places and self._places[path] != name:
            path = path.with_name(path.name + "_")
        if path not in self._places and "." in name:
            self.warnings.append(f"{name} is in {path.name}: a dot separates levels there")
        self._places[path] = name
        return path

    @staticmethod
    def _dotted(name: str) -> str:
        return ".".join(to_disk(level.replace(".", "_")) for level in name.split(DELIMITER))


def _replace(path: Path, lines: list[str]) -> None:
    half = path.with_name(path.name + ".new")
    fd = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    half.replace(path)
