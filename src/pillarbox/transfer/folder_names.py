"""Names of folders: into ones that Pillarbox can have, and as other programs write them."""

from __future__ import annotations

import re
import unicodedata

from pillarbox.imap import mailbox_name
from pillarbox.store.mailbox_names import DELIMITER, INBOX, MAX_LEVEL_OCTETS, MAX_LEVELS, OTHERS

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff%*]")


def fitting(name: str) -> str:
    """A name that a mailbox can have, as near to this one as possible; INBOX for nothing."""
    levels = [fitted for level in unicodedata.normalize("NFC", name).split(DELIMITER) if (fitted := _level(level))]
    if not levels:
        return INBOX
    if levels[0].upper() == INBOX:
        levels[0] = INBOX
    if levels[0] == OTHERS:  # what others share is there
        levels[0] += "_"
    if len(levels) > MAX_LEVELS:
        levels[MAX_LEVELS - 1 :] = [" ".join(levels[MAX_LEVELS - 1 :])[:60]]
    return DELIMITER.join(levels)


def _level(level: str) -> str:
    level = _FORBIDDEN.sub("_", level).strip()
    if level in (".", ".."):
        return "_" * len(level)
    while len(level.encode()) > MAX_LEVEL_OCTETS:
        level = level[:-1]
    return level


def below(prefix: str, name: str) -> str:
    """The name below another one; as it is without one."""
    return f"{prefix}{DELIMITER}{name}" if prefix else name


def from_disk(name: str) -> str:
    """A level as Dovecot and others write it: modified UTF-7, or else UTF-8 as it stands."""
    try:
        return mailbox_name.decode(name.encode("utf-8", "surrogateescape"))
    except (mailbox_name.BadName, UnicodeError):
        return name.encode("utf-8", "replace").decode()


def to_disk(name: str) -> str:
    """A level as Dovecot writes it: modified UTF-7."""
    return mailbox_name.encode(name).decode("ascii")
