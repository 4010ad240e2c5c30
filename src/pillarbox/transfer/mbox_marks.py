"""What mail programs write into the header of a message in an mbox, and what it means: flags, keywords, UID, labels.

Status and X-Status (mutt, Dovecot, alpine), X-Keywords, X-UID and X-IMAPbase (Dovecot, UW-IMAP), X-Mozilla-Status
(Thunderbird). These fields are no part of the message and are taken out of it.
"""

from __future__ import annotations

import re

import msgspec

from pillarbox.imap.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, canonical_keyword
from pillarbox.transfer.found import number
from pillarbox.transfer.maildir_flags import FORWARDED

_NAMES = rb"Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase|Content-Length|X-Mozilla-Status2?|X-Mozilla-Keys"
_FIELD = re.compile(rb"^(" + _NAMES + rb")[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)\r?\n", re.I | re.M)
_HEADER_END = re.compile(rb"(?:\A|\n)\r?\n")
_STATUS = {"R": SEEN, "A": ANSWERED, "F": FLAGGED, "D": DELETED, "T": DRAFT}
_MOZILLA = ((0x1, SEEN), (0x2, ANSWERED), (0x4, FLAGGED))
_MOZILLA_GONE, _MOZILLA_FORWARDED = 0x8, 0x1000
_INTERNAL = re.compile(rb"^Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r?$", re.M)


class Marks(msgspec.Struct):
    flags: int = 0
    keywords: tuple[str, ...] = ()
    uid: int | None = None
    uidvalidity: int = 0
    uidnext: int = 0
    hidden: bool = False  # deleted there and not yet swept
    internal: bool = False  # data of a program, where it is the first of the file


def take_out(data: bytes) -> tuple[bytes, Marks]:
    """The message without such fields, and what they say."""
    end = _HEADER_END.search(data)
    header = data[: end.end()] if end else data
    marks = Marks()
    words: list[str] = []
    lines = data.count(b"\n", len(header))
    longest = len(data) - len(header) + 2

    def field(match: re.Match[bytes]) -> bytes:
        name, value = match[1].decode("ascii").lower(), match[2].decode("utf-8", "replace").strip()
        if name in ("status", "x-status"):
            for letter in value:
                marks.flags |= _STATUS.get(letter, 0)
        elif name in ("x-keywords", "x-mozilla-keys"):
            words.extend(value.split())
        elif name == "x-uid":
            marks.uid = number(value)
        elif name in ("x-imap", "x-imapbase"):
            match [number(word) for word in value.split()[:2]]:
                case [int(uidvalidity), int(last)]:
                    marks.uidvalidity, marks.uidnext = uidvalidity, last + 1
        elif name == "x-mozilla-status":
            _mozilla(marks, words, value)
        elif name == "content-length" and not (
            (length := number(value)) is not None and longest - lines - 4 <= length <= longest + data.count(b"From ")
        ):
            return match[0]  # the sender's own; else counted with LF or CRLF, quoted or not
        return b""

    shorter = _FIELD.sub(field, header)
    marks.keywords = tuple(word for word in map(canonical_keyword, words) if word is not None)
    marks.internal = _INTERNAL.search(header) is not None
    return shorter + data[len(header) :], marks


def _mozilla(marks: Marks, words: list[str], value: str) -> None:
    try:
        bits = int(value, 16)
    except ValueError:
        return
    for bit, flag in _MOZILLA:
        marks.flags |= flag if bits & bit else 0
    if bits & _MOZILLA_FORWARDED:
        words.append(FORWARDED)
    marks.hidden = marks.hidden or bool(bits & _MOZILLA_GONE)
