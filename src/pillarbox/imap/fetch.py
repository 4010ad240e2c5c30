"""What FETCH asks for: simple items as an enum, sections of a message as `Section`, annotations as `Annotations`.

All are hashable, so a session can keep what it made of an item list beside the tuple.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pillarbox.imap.annotation import Annotations


class Item(Enum):
    """Items that are one value each; the value is the name in the response."""

    FLAGS = b"FLAGS"
    UID = b"UID"
    INTERNALDATE = b"INTERNALDATE"
    RFC822_SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"  # BODYSTRUCTURE without extension data
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    MODSEQ = b"MODSEQ"  # RFC 7162
    SAVEDATE = b"SAVEDATE"  # RFC 8514
    PREVIEW = b"PREVIEW"  # RFC 8970
    EMAILID = b"EMAILID"  # RFC 8474
    THREADID = b"THREADID"


@dataclass(slots=True, frozen=True)
class Section:
    """Octets of a message: BODY[...], BINARY[...], BINARY.SIZE[...], RFC822, RFC822.HEADER, RFC822.TEXT.

    `kind`: "BODY" as they are, "BINARY" without the transfer encoding, "BINARY.SIZE" only how many those are.
    `part`: (2, 1) for `2.1`, () for the whole message. `text`: "", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT",
    "TEXT" or "MIME". `fields`: header field names in lower case. `partial`: (origin, length) or None.
    `peek`: the message does not become \\Seen. `label`: the name in the response with `<origin>`, complete.
    """

    kind: str
    part: tuple[int, ...]
    text: str
    fields: frozenset[bytes]
    partial: tuple[int, int] | None
    peek: bool
    label: bytes


FetchItem = Item | Section | Annotations
