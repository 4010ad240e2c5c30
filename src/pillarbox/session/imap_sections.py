"""Sections of a message (BODY[...], BINARY[...], RFC822...) as cuts of its stored bytes.

A message is a prefix, which differs by recipient and is at hand, and a blob. A `Cut` says which octets of the blob are
to be read, what stands before them, and what is to be made of them. Nothing is read here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pillarbox.imap.fetch import Section
from pillarbox.mime.header import select_fields
from pillarbox.mime.section import find_part, locate
from pillarbox.mime.transfer import IDENTITY, decode_transfer
from pillarbox.mime.tree import Part, load_parts
from pillarbox.session.imap_answers import Refuse
from pillarbox.store.records import Rendered

MOST_FIELDS = 1 << 20  # octets of a header in which HEADER.FIELDS looks for fields

_DECODABLE = frozenset({"base64", "quoted-printable"})


@dataclass(slots=True)
class Cut:
    """`head` and then `length` octets of the blob from `start` on, for a section.

    `encoding` is the transfer encoding to be undone ("" for none), `window` the (origin, length) of what comes out that
    is wanted, None for all. `fields` chooses header fields.
    """

    section: Section
    head: bytes
    start: int
    length: int
    encoding: str = ""
    fields: bool = False
    window: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Octets that are cut, before anything is made of them."""
        return len(self.head) + self.length

    @property
    def plain(self) -> bool:
        """The octets go out as they are."""
        return not self.fields and not self.encoding and self.section.kind != "BINARY.SIZE"

    @property
    def binary(self) -> bool:
        return self.section.kind == "BINARY"

    def content(self, octets: bytes) -> bytes:
        """What is made of the octets that were cut (without `head`)."""
        if self.head:
            octets = self.head + octets
        if self.fields:
            octets = select_fields(octets, self.section.fields, self.section.text == "HEADER.FIELDS.NOT")
        elif self.encoding:
            octets = decode_transfer(octets, self.encoding) or b""
        if self.window is not None:
            origin, length = self.window
            octets = octets[origin : origin + length]
        return octets

    def item(self, octets: bytes) -> tuple[bytes, bytes]:
        """The item of the FETCH response in two pieces, made of the octets that were cut (without `head`)."""
        octets = self.content(octets)
        label = self.section.label
        if self.section.kind == "BINARY.SIZE":
            return b"%b %d" % (label, len(octets)), b""
        if b"\0" in octets:
            if self.binary:
                return b"%b ~{%d}\r\n" % (label, len(octets)), octets  # RFC 3516 section 4.2
            octets = without_nul(octets)
        return b"%b {%d}\r\n" % (label, len(octets)), octets


Piece = bytes | Cut
"""A part of a response: as it is, or to be read."""


class Sections:
    """Resolves the sections of one message; the tree of its parts is decoded when the first one needs it."""

    __slots__ = ("_root", "_row")

    def __init__(self, row: Rendered) -> None:
        self._row = row
        self._root: Part | None = None

    def cuts(self, wanted: Iterable[Section]) -> list[Piece]:
        """`cut` of each of them."""
        return [self.cut(section) for section in wanted]

    def cut(self, wanted: Section) -> Piece:
        """Where the octets of a section are, or the whole item where no octets are needed: NIL for what is not there.

        Raises Refuse when the transfer encoding of BINARY is not known.
        """
        if wanted.kind != "BODY" and wanted.part:
            return self._decoded(wanted)
        place = self._place(wanted)
        if place is None:
            return wanted.label + b" NIL"
        head, start, length = place
        if wanted.kind == "BINARY.SIZE":
            return b"%b %d" % (wanted.label, len(head) + length)
        if wanted.text.startswith("HEADER.FIELDS"):
            return Cut(wanted, head, start, min(length, MOST_FIELDS), fields=True, window=wanted.partial)
        if wanted.partial is not None:
            head, start, length = _narrow(head, start, length, wanted.partial)
        return Cut(wanted, head, start, length)

    def _place(self, wanted: Section) -> tuple[bytes, int, int] | None:
        """(octets before, start in the blob, length) of a section without its partial range."""
        row = self._row
        if not wanted.part:
            if not wanted.text:
                return row.prefix, 0, row.size - len(row.prefix)
            if wanted.text.startswith("HEADER"):
                return row.prefix, 0, row.header_size
        kind = "HEADER" if wanted.text.startswith("HEADER") else wanted.text
        found = locate(self._tree(), wanted.part, kind)
        return None if found is None else (b"", found[0], found[1] - found[0])

    def _decoded(self, wanted: Section) -> Cut | bytes:
        """BINARY[part] and BINARY.SIZE[part]: the content without its transfer encoding, RFC 3516 section 4.3."""
        part = find_part(self._tree(), wanted.part)
        if part is None:
            return wanted.label + (b" 0" if wanted.kind == "BINARY.SIZE" else b" NIL")
        start, length = part.body, part.end - part.body
        encoding = part.encoding.lower()
        if encoding in _DECODABLE:
            return Cut(wanted, b"", start, length, encoding, window=wanted.partial)
        if encoding not in IDENTITY:
            raise Refuse("The transfer encoding of this part is not known", "UNKNOWN-CTE")
        if wanted.kind == "BINARY.SIZE":
            return b"%b %d" % (wanted.label, length)
        if wanted.partial is not None:
            _, start, length = _narrow(b"", start, length, wanted.partial)
        return Cut(wanted, b"", start, length)

    def _tree(self) -> Part:
        if self._root is None:
            self._root = load_parts(self._row.parts)
        return self._root


def _narrow(head: bytes, start: int, length: int, partial: tuple[int, int]) -> tuple[bytes, int, int]:
    """A partial range of head and blob octets together; past the end nothing is left (RFC 9051 section 6.4.5)."""
    origin, wanted = partial
    kept = head[origin : origin + wanted]
    wanted -= len(kept)
    skip = min(max(0, origin - len(head)), length)
    return kept, start + skip, min(wanted, length - skip)


_NUL_AWAY = bytes([0x80, *range(1, 256)])


def without_nul(octets: bytes) -> bytes:
    """A literal holds no NUL (RFC 9051 section 4.3.1): it becomes 0x80, as in other servers; BINARY gives the truth."""
    return octets.translate(_NUL_AWAY) if b"\0" in octets else octets
