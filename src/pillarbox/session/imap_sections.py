"""Sections of a message (BODY[...], BINARY[...], RFC822...) as cuts of its stored bytes.

A message is a prefix, which differs by recipient and is at hand, and a blob. A `Cut` says which octets of the blob are
to be read, what stands before them, and what is to be done with the whole. Nothing is read here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pillarbox.imap.fetch import Section
from pillarbox.mime.header import select_fields
from pillarbox.mime.section import find_part, locate
from pillarbox.mime.transfer import decode_transfer
from pillarbox.mime.tree import Part, load_parts
from pillarbox.session.imap_answers import Refuse
from pillarbox.store.records import Rendered

After = Callable[[bytes], bytes]


@dataclass(slots=True)
class Cut:
    """`head` and then `length` octets of the blob from `start`; `after` makes the value of them, None leaves them.

    `kind` is that of the section: "BODY", "BINARY" or "BINARY.SIZE".
    """

    label: bytes
    head: bytes
    start: int
    length: int
    kind: str = "BODY"
    after: After | None = None

    @property
    def size(self) -> int:
        """Octets before `after`."""
        return len(self.head) + self.length


class Sections:
    """Resolves the sections of one message; the tree of its parts is decoded when the first one needs it."""

    __slots__ = ("_root", "_row")

    def __init__(self, row: Rendered) -> None:
        self._row = row
        self._root: Part | None = None

    def cut(self, wanted: Section) -> Cut | None:
        """Where the octets of a section are, or None when the message has no such part (the value is NIL)."""
        if wanted.kind != "BODY" and wanted.part:
            return self._decoded(wanted)
        place = self._place(wanted)
        if place is None:
            return None
        head, start, length = place
        if wanted.fields:
            return Cut(wanted.label, head, start, length, after=_fields(wanted))
        if wanted.partial is not None:
            head, start, length = _narrow(head, start, length, wanted.partial)
        return Cut(wanted.label, head, start, length, wanted.kind)

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

    def _decoded(self, wanted: Section) -> Cut | None:
        """BINARY[part] and BINARY.SIZE[part]: the content without its transfer encoding, RFC 3516 section 4.3."""
        part = find_part(self._tree(), wanted.part)
        if part is None:
            return None
        encoding = part.encoding

        def decode(raw: bytes) -> bytes:
            content = decode_transfer(raw, encoding)
            if content is None:
                raise Refuse("The transfer encoding of this part is not known", "UNKNOWN-CTE")
            if wanted.partial is not None:
                origin, length = wanted.partial
                content = content[origin : origin + length]
            return content

        return Cut(wanted.label, b"", part.body, part.end - part.body, wanted.kind, decode)

    def _tree(self) -> Part:
        if self._root is None:
            self._root = load_parts(self._row.parts)
        return self._root


def _fields(wanted: Section) -> After:
    invert = wanted.text == "HEADER.FIELDS.NOT"

    def select(raw: bytes) -> bytes:
        chosen = select_fields(raw, wanted.fields, invert)
        if wanted.partial is not None:
            origin, length = wanted.partial
            chosen = chosen[origin : origin + length]
        return chosen

    return select


def _narrow(head: bytes, start: int, length: int, partial: tuple[int, int]) -> tuple[bytes, int, int]:
    """A partial range of head and blob octets together; past the end nothing is left (RFC 9051 section 6.4.5)."""
    origin, wanted = partial
    kept = head[origin : origin + wanted]
    wanted -= len(kept)
    skip = max(0, origin - len(head))
    return kept, start + min(skip, length), max(0, min(wanted, length - skip))


def literal(cut: Cut, value: bytes) -> bytes:
    """The section and its value as FETCH data."""
    if cut.kind == "BINARY.SIZE":
        return b"%b %d" % (cut.label, len(value))
    if b"\0" in value:
        if cut.kind == "BINARY":
            return b"%b ~{%d}\r\n%b" % (cut.label, len(value), value)
        value = without_nul(value)
    return b"%b {%d}\r\n%b" % (cut.label, len(value), value)


_NUL_AWAY = bytes([0x80, *range(1, 256)])


def without_nul(octets: bytes) -> bytes:
    """A literal holds no NUL (RFC 9051 section 4.3.1): it becomes 0x80, as in other servers; BINARY gives the truth."""
    return octets.translate(_NUL_AWAY) if b"\0" in octets else octets
