"""Everything that is computed once, when a message is delivered, and stored with it."""

from __future__ import annotations

import re

import msgspec

from pillarbox.mime.date import parse_date
from pillarbox.mime.envelope import render_envelope
from pillarbox.mime.header import text_of
from pillarbox.mime.scanner import OffsetScanner
from pillarbox.mime.subject import MAX_SUBJECT, base_subject
from pillarbox.mime.text import preview_of
from pillarbox.mime.tree import Part, dump_parts, load_parts

__all__ = ["Analysis", "Part", "Scanner", "analyse", "load_parts", "outline"]

MAX_REFERENCES = 100  # message ids that are kept of References and of In-Reply-To
_MAX_MESSAGE_ID = 998  # octets; a line is not longer (RFC 5322 section 2.1.1)

_MESSAGE_ID = re.compile(rb"<([^<>]*+)>")


class Analysis(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What IMAP, threads and lists need of a message without reading it again.

    `parts` is the tree of `Part` as msgpack (`load_parts`). `envelope`, `bodystructure` and `body` are the IMAP data
    items, ready to be sent to any client (see `render`). `header_size` counts the octets of the header block with its
    empty line. Message ids are with their angle brackets. `sent_at` is the Date field in seconds since 1970, None when
    there is none that can be read; `sent_zone` is its zone in minutes east of UTC (IMAP's SENTSINCE and SENTBEFORE look
    at the sender's own day). `preview` is text of up to 256 characters. `listed`: see `header.listed_fields`.
    """

    size: int
    parts: bytes
    envelope: bytes
    bodystructure: bytes
    body: bytes
    header_size: int
    message_id: str
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    subject: str
    base_subject: str
    sent_at: int | None
    preview: str
    sent_zone: int = 0
    listed: bytes | None = None

    @property
    def is_outline(self) -> bool:
        """Whether only sizes and ids are there: the message was not looked into, or that was stored before."""
        return not self.envelope


class Scanner:
    """Takes a message in pieces as they arrive and analyses it; see `scanner` for what it keeps and how it reads."""

    __slots__ = ("_scan",)

    def __init__(self) -> None:
        self._scan = OffsetScanner()

    def feed(self, data: bytes) -> None:
        """The next octets. Never raises."""
        self._scan.feed(data)

    def finish(self) -> Analysis:
        """The message is complete. Call it once."""
        return _analysis(self._scan, self._scan.end())


def analyse(data: bytes) -> Analysis:
    """`Scanner` for a message that is all there."""
    scan = OffsetScanner()
    return _analysis(scan, scan.end(data))


def outline(data: bytes, message_id: bytes) -> Analysis:
    """What is to be known of a message that only passes through: nobody will ask for its parts.

    It has a header, whose lines end with CRLF; `message_id` is the raw value of that field.
    """
    at = data.find(b"\r\n\r\n")
    header_size = at + 4 if at >= 0 else len(data)
    message_id_text = next(iter(message_ids(message_id)), "")
    return Analysis(len(data), b"", b"", b"", b"", header_size, message_id_text, (), (), "", "", None, "")


def _analysis(scan: OffsetScanner, size: int) -> Analysis:
    root, fields = scan.root, scan.fields
    subject = text_of(fields[b"subject"][: 8 * MAX_SUBJECT])[:MAX_SUBJECT] if b"subject" in fields else ""
    sent = parse_date(fields[b"date"]) if b"date" in fields else None
    return Analysis(
        size,
        dump_parts(root),
        render_envelope(fields),
        scan.structure,
        scan.body,
        root.body,
        next(iter(message_ids(fields.get(b"message-id", b""))), ""),
        message_ids(fields.get(b"in-reply-to", b"")),
        message_ids(fields.get(b"references", b"")),
        subject,
        base_subject(subject),
        sent[0] if sent is not None else None,
        _preview(scan),
        sent[1] if sent is not None else 0,
        scan.listed,
    )


def message_ids(value: bytes, limit: int = MAX_REFERENCES) -> tuple[str, ...]:
    """The message ids of a raw field value, with angle brackets (added where the only word lacks them); of too many the
    first and the last ones."""
    if b"<" not in value:
        words = value.split()
        value = b"<%b>" % words[0] if len(words) == 1 and b"@" in words[0] else b""
    found = [b"".join(text.split()) for text in _MESSAGE_ID.findall(value)]  # folded, or spaced as RFC 822 allowed
    ids = [f"<{text.decode('utf-8', 'replace')}>" for text in found if _is_message_id(text)]
    if len(ids) > limit:
        ids = [*ids[:1], *ids[len(ids) - limit + 1 :]]  # the root of the thread and the nearest ancestors
    return tuple(ids)


def _is_message_id(text: bytes) -> bool:
    return 0 < len(text) <= _MAX_MESSAGE_ID and b"\0" not in text


def _preview(scan: OffsetScanner) -> str:
    """Of the first text/plain that says anything, else of the first text/html."""
    for content, raw in sorted(scan.captured, key=lambda entry: entry[0].subtype != "plain"):
        preview = preview_of(bytes(raw), content.encoding, content.charset, content.subtype)
        if preview:
            return preview
    return ""
