"""A message for whoever takes no 8-bit or binary content: its leaf parts encoded anew (RFC 6152 section 3, RFC 3516
section 4.4).

`plan_downgrade`, for another server, and `plan_storage`, for a mailbox, read the message through a function and say
what is copied, put in and encoded, and how large the result is; the content of every part stays the same once it is
decoded. What must not be touched, because it is signed or may not be encoded, raises `Untouchable`. What a report
returns is a copy for its author: its arrival counts more than a signature in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from pillarbox.mime.analysis import Scanner, load_parts
from pillarbox.mime.encoder import Encoder, encoder_for
from pillarbox.mime.header import MAX_HEADER
from pillarbox.mime.scanner import MAX_PARTS
from pillarbox.mime.transfer import IDENTITY
from pillarbox.mime.tree import Part

SLICE = 256 * 1024  # octets that are read at once
MAX_LINE = 998  # octets, RFC 5322 section 2.1.1

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:(?:[^\n]*+(?:\n|\Z))(?:[ \t][^\n]*+(?:\n|\Z))*+|[^\n]*+(?:\n|\Z)")
# Of all messages in messages only these may be encoded (RFC 6532 section 3.7, RFC 6533 section 5).
_GLOBAL = {"global", "global-headers", "global-delivery-status", "global-disposition-notification"}
_TYPE = b"Content-Type: text/plain; charset=unknown-8bit\r\n"  # RFC 1428: nobody said what it is

Read = Callable[[int, int], bytes]  # octets from an offset on, as many as are asked for unless the message ends


class Untouchable(ValueError):
    """The message cannot be made to fit without doing harm; the text says why."""


class Copy(msgspec.Struct, frozen=True, gc=False):
    start: int
    end: int


class Insert(msgspec.Struct, frozen=True, gc=False):
    data: bytes


class Encode(msgspec.Struct, frozen=True, gc=False):
    """The octets from `start` to `end`, encoded: "base64" or "quoted-printable"."""

    start: int
    end: int
    encoding: str


class Downgrade(msgspec.Struct, frozen=True, gc=False):
    """What to send in the place of a message, and its size in octets."""

    pieces: tuple[Copy | Insert | Encode, ...]
    size: int


class _Look(msgspec.Struct):
    """What the octets of a part are."""

    eight: int = 0  # octets above 127
    nul: bool = False
    binary: bool = False  # a NUL, a bare CR or LF
    longest: int = 0  # octets of a line


def structure(size: int, read: Read) -> Part:
    """The tree of the parts of a message."""
    scanner = Scanner()
    for piece in _slices(0, size, read):
        scanner.feed(piece)
    return load_parts(scanner.finish().parts)


def has_ascii_headers(root: Part, read: Read) -> bool:
    """Whether no header of the message and its parts needs SMTPUTF8 (RFC 6531)."""
    return all(piece.isascii() for part in _all(root) for piece in _slices(part.header, part.body, read))


def plan_downgrade(size: int, read: Read, *, eight_bit: bool) -> Downgrade:
    """How a message of `size` octets is to be sent to a server without BINARYMIME, and without 8BITMIME unless
    `eight_bit`. Raises Untouchable."""
    root = structure(size, read)
    return _Planner(root, size, read, eight_bit=eight_bit).plan()


def plan_storage(size: int, read: Read) -> Downgrade:
    """How a message with a NUL is kept in a mailbox: as 8-bit mail without one. What may not be touched stays as it is
    where it holds none; else it raises Untouchable. A NUL outside of the content of leaf parts stays, too."""
    root = structure(size, read)
    return _Planner(root, size, read, eight_bit=True, storing=True).plan()


class _Planner:
    def __init__(self, root: Part, size: int, read: Read, *, eight_bit: bool, storing: bool = False) -> None:
        self._root = root
        self._size = size
        self._read = read
        self._eight_bit = eight_bit
        self._storing = storing
        self._whole = sum(1 for _ in _all(root)) < MAX_PARTS  # else the last part hides others
        self._pieces: list[Copy | Insert | Encode] = []
        self._at = 0  # up to here the message is in the pieces

    def plan(self) -> Downgrade:
        self._part(self._root, is_message=True, touchable="", returned=False)
        self._copy_to(self._size)
        return Downgrade(tuple(self._pieces), sum(map(self._length, self._pieces)))

    def _part(self, part: Part, *, is_message: bool, touchable: str, returned: bool) -> None:
        """Plan one part. `touchable` says why it is not, or is empty. `returned`: it is in a report."""
        if not (part.is_multipart or part.is_message) or _is_global(part):
            self._leaf(part, is_message, touchable)
            return
        if part.is_multipart and part.subtype in ("signed", "encrypted") and not returned:
            touchable = touchable or f"it is multipart/{part.subtype}, which nobody may change"
        if len(part.children) == 1 and part.children[0].header == part.children[0].body:
            touchable = touchable or "its structure cannot be read"
        if not touchable and self._promises_too_much(part):
            self._label(part, "8bit" if self._eight_bit else "7bit", is_message)
        for child in part.children:
            inside = returned or (part.is_multipart and part.subtype == "report")
            self._part(child, is_message=part.is_message, touchable=touchable, returned=inside)

    def _promises_too_much(self, part: Part) -> bool:
        return part.encoding == "binary" or (part.encoding == "8bit" and not self._eight_bit)

    def _leaf(self, part: Part, is_message: bool, touchable: str) -> None:
        look = self._look(part.body, part.end)
        if part.encoding not in IDENTITY:
            if part.encoding in ("base64", "quoted-printable") or not look.eight:
                return  # stray octets in encoded text mean nothing
            raise Untouchable(f"a part has 8-bit content in the unknown encoding {part.encoding}")
        too_long = part.encoding == "binary" and look.longest > MAX_LINE
        if not (look.binary or too_long or (look.eight and not self._eight_bit)):
            if not touchable and self._promises_too_much(part):
                self._label(part, "8bit" if look.eight else "7bit", is_message)
            return
        if not self._whole:
            touchable = touchable or "it has too many parts"
        if part.type in ("message", "multipart") and not _is_global(part):
            touchable = touchable or f"a part of the type {part.type}/{part.subtype} may not be encoded"
        if touchable and self._storing and not look.nul:
            return
        if touchable:
            raise Untouchable(touchable)
        words = part.type in ("text", "message") and not look.binary and look.longest <= MAX_LINE
        few = look.eight * 4 <= part.end - part.body
        encoding = "quoted-printable" if words and few else "base64"
        self._label(part, encoding, is_message)
        self._copy_to(part.body)
        self._pieces.append(Encode(part.body, part.end, encoding))
        if self._read(part.end, 1) not in (b"", b"\r", b"\n"):  # a message all header has the boundary's line end
            self._pieces.append(Insert(b"\r\n"))
        self._at = part.end

    def _label(self, part: Part, encoding: str, is_message: bool) -> None:
        """Write the part's header with this Content-Transfer-Encoding."""
        if part.body - part.header > MAX_HEADER:
            raise Untouchable("a header of it is too long to be changed")
        if part.body == part.header:
            raise Untouchable("a part of it has no header")
        self._copy_to(part.header)
        block = self._read(part.header, part.body - part.header)
        label = b"Content-Transfer-Encoding: %b\r\n" % encoding.encode()
        kept, names = [], set()
        end = 0
        for match in _FIELD.finditer(block):
            if match[0] in (b"\r\n", b"\n", b""):
                break  # the empty line, or the end
            end = match.end()
            name = (match[1] or b"").lower()
            if name != b"content-transfer-encoding":
                kept.append(match[0])
            elif name not in names:
                kept.append(label)  # in its place: a line that is no field must not become the first
            names.add(name)
        if kept and not kept[-1].endswith(b"\n"):
            kept.append(b"\r\n")
        if is_message and b"mime-version" not in names:
            kept.append(b"MIME-Version: 1.0\r\n")
        if b"content-type" not in names and encoding not in ("7bit", "8bit"):
            kept.append(_TYPE)
        if b"content-transfer-encoding" not in names:
            kept.append(label)
        kept.append(block[end:] or b"\r\n")
        self._pieces.append(Insert(b"".join(kept)))
        self._at = part.body

    def _copy_to(self, end: int) -> None:
        if end > self._at:
            self._pieces.append(Copy(self._at, end))
            self._at = end

    def _look(self, start: int, end: int) -> _Look:
        look = _Look()
        line, last = 0, b""
        for piece in _slices(start, end, self._read):
            look.eight += 0 if piece.isascii() else len(piece) - len(piece.translate(None, _HIGH))
            joined = last + piece
            last = b"\r" if joined.endswith(b"\r") else b""
            body = joined[: len(joined) - len(last)]
            rest = body.replace(b"\r\n", b"")
            look.nul |= b"\0" in rest
            look.binary |= look.nul or b"\r" in rest or b"\n" in rest
            lengths = [len(text) for text in body.split(b"\n")]
            lengths[0] += line
            look.longest = max(look.longest, *lengths)
            line = lengths[-1]
        look.binary |= bool(last)
        return look

    def _length(self, piece: Copy | Insert | Encode) -> int:
        match piece:
            case Insert(data):
                return len(data)
            case Copy(start, end):
                return end - start
            case Encode(start, end, encoding):
                return sum(map(len, encoded(encoder_for(encoding), _slices(start, end, self._read))))


def encoded(encoder: Encoder, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield encoder.feed(piece)
    yield encoder.end()


_HIGH = bytes(range(128, 256))


def _slices(start: int, end: int, read: Read) -> Iterator[bytes]:
    while start < end:
        piece = read(start, min(SLICE, end - start))
        if not piece:
            return
        yield piece
        start += len(piece)


def _is_global(part: Part) -> bool:
    return part.type == "message" and part.subtype in _GLOBAL


def _all(part: Part) -> Iterator[Part]:
    yield part
    for child in part.children:
        yield from _all(child)
