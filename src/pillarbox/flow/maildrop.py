"""A message that `sendmail` leaves for the server in the spool folder: one file, an envelope in front of the content.

    PILLARBOX-MAILDROP 1
    {"sender": "ada@example.org", "recipients": ["bob@example.net"], "size": 120}
    the message, lines ending in CRLF, `size` octets to the end of the file

The folder is the server's (mode 3733): anybody may put a file into it, nobody may list it, and the names are not to be
guessed. A file becomes one of the server's group and mode 0640, so that nobody else reads it. It is written under a
name that begins with `tmp.`, synced, and renamed: what has another name is whole.

Imports little: `sendmail` is started for every message of a script.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

FOLDER_MODE = 0o3733
FILE_MODE = 0o640
MAGIC = b"PILLARBOX-MAILDROP 1\n"
MAX_ENVELOPE = 4 << 20  # octets of the second line
MAX_RECIPIENTS = 10_000
UNFINISHED = "tmp."


class BadFile(Exception):
    """Not a whole file of this format; the text says why."""


class Envelope(NamedTuple):
    """`sender` "" is the null path. Addresses without a domain get the server's name. The rest as RFC 3461 has it."""

    sender: str
    recipients: tuple[str, ...]
    size: int  # octets of the content
    notify: str = ""
    ret: str = ""
    envid: str = ""


def leave(folder: str, envelope: Envelope, content: Iterable[bytes]) -> str:
    """Put a message into the folder; its name there. It is on disk when this returns. Raises OSError."""
    name = os.urandom(16).hex()
    unfinished, finished = os.path.join(folder, UNFINISHED + name), os.path.join(folder, name)
    facts = {key: value for key, value in envelope._asdict().items() if value or key == "sender"}
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(file, FILE_MODE)  # whatever the umask is
        _write(file, MAGIC + json.dumps(facts).encode() + b"\n")
        for piece in content:
            _write(file, piece)
        os.fsync(file)
        os.rename(unfinished, finished)
        _sync_name(folder, file)
    except BaseException:
        for path in (unfinished, finished):
            with suppress(OSError):
                os.unlink(path)
        raise
    finally:
        os.close(file)
    return name


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_name(folder: str, file: int) -> None:
    """The new name too is on disk. Who may not open the folder syncs the file again: its inode was changed by the
    renaming, and the file systems in use write both in one transaction of their journal."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        os.fsync(file)
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_envelope(head: bytes) -> tuple[Envelope, int]:
    """The envelope in the first octets of a file, and where the content begins. Raises BadFile."""
    if not head.startswith(MAGIC):
        raise BadFile("it does not begin as a message of sendmail")
    end = head.find(b"\n", len(MAGIC), len(MAGIC) + MAX_ENVELOPE)
    if end < 0:
        raise BadFile("its envelope has no end")
    try:
        facts = json.loads(head[len(MAGIC) : end])
    except (ValueError, RecursionError) as error:
        raise BadFile("its envelope is not JSON") from error
    return _envelope(facts), end + 1


def _envelope(facts: Any) -> Envelope:
    if not isinstance(facts, dict):
        raise BadFile("its envelope is no object")
    recipients, size = facts.get("recipients"), facts.get("size")
    texts = [facts.get(name, "") for name in ("sender", "notify", "ret", "envid")]
    if not isinstance(recipients, list) or not 0 < len(recipients) <= MAX_RECIPIENTS:
        raise BadFile("its envelope has no recipients, or too many")
    if not all(isinstance(text, str) and text.isprintable() for text in (*texts, *recipients)):
        raise BadFile("its envelope has something else than text")
    if type(size) is not int or size < 0:
        raise BadFile("its envelope has no size")
    sender, notify, ret, envid = texts
    return Envelope(sender, tuple(recipients), size, notify, ret, envid)
