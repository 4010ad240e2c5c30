"""A message from standard input: line ends, the header, what is added to it and taken from it.

Lines may end in LF or CRLF. The header ends at the first empty line, or where a line is no field: then an empty line is
put there. Beyond a megabyte the body waits in a file without a name.
"""

from __future__ import annotations

import os
import re
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from pillarbox.flow.maildrop import MAX_RECIPIENTS
from pillarbox.mime.address import parse_addresses

MAX_HEADER = 1 << 20  # octets
MAX_MESSAGE = 1 << 30  # octets: the server has its own limit, this one keeps the disk from filling
IN_MEMORY = 1 << 20
_PIECE = 1 << 16
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_TO = (b"to", b"cc", b"bcc")
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")


class DataError(Exception):
    """What came is no message that can be sent: exit 65."""


class Field(NamedTuple):
    """A header field; `raw` is all of it with its CRLF."""

    name: bytes  # lower case
    raw: bytes

    @property
    def value(self) -> bytes:
        return self.raw.partition(b":")[2]


class Body:
    """Octets in order: in memory, or in a file when they are many."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > MAX_MESSAGE:
            raise DataError("the message is too large")
        if self._file is not None:
            self._file.write(data)
            return
        self._pieces.append(data)
        if self.size > IN_MEMORY:
            self._file = _nameless_file()
            self._file.writelines(self._pieces)
            self._pieces.clear()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def pieces(self) -> Iterator[bytes]:
        """All of it; may be asked again."""
        if self._file is None:
            yield b"".join(self._pieces)
            return
        self._file.flush()
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece


class Message:
    """Header fields, and the body behind the empty line."""

    def __init__(self, fields: list[Field], body: Body) -> None:
        self.fields = fields
        self.body = body

    def has(self, name: bytes) -> bool:
        return any(field.name == name for field in self.fields)

    def recipients(self) -> list[str]:
        """Addresses of To, Cc and Bcc, or of Resent-To and so on when there are any of these. Raises DataError."""
        resent = [b"resent-" + name for name in _TO]
        names = resent if any(map(self.has, resent)) else list(_TO)
        return [address for field in self.fields if field.name in names for address in _addresses(field.value)]

    def complete(self, sender: str, name: str, host: str, epoch: float) -> None:
        """Add From, Date and Message-ID where they are missing, and take Bcc out."""
        self.fields = [field for field in self.fields if field.name not in (b"bcc", b"resent-bcc")]
        if not self.has(b"from"):
            self._add("From", f"{_phrase(name)} <{sender}>" if name else sender)
        if not self.has(b"date"):
            self._add("Date", time.strftime("%a, %d %b %Y %H:%M:%S %z", time.localtime(epoch)))
        if not self.has(b"message-id"):
            stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(epoch))
            self._add("Message-ID", f"<{stamp}.{os.urandom(8).hex()}@{host}>")

    def content(self) -> Iterator[bytes]:
        """The whole message; may be asked again."""
        yield b"".join(field.raw for field in self.fields) + b"\r\n"
        yield from self.body.pieces()

    @property
    def size(self) -> int:
        return sum(len(field.raw) for field in self.fields) + 2 + self.body.size

    def _add(self, name: str, value: str) -> None:
        self.fields.append(Field(name.lower().encode(), f"{name}: {value}\r\n".encode()))


def read_message(stream: IO[bytes], *, dots: bool) -> Message:
    """The message up to the end of `stream`, or with `dots` to a line of one dot. Raises DataError."""
    fields: list[Field] = []
    body = Body()
    lines = _lines(stream, dots)
    size = 0
    for start in lines:
        line = start
        while not line.endswith(b"\r\n") and size + len(line) < MAX_HEADER:
            line += next(lines)  # the end of the message ends its last line
        size += len(line)
        if size >= MAX_HEADER:
            raise DataError("the header is too large")
        if not fields and line.startswith((b"From ", b">From ")):
            continue  # the separator of an mbox file
        if line == b"\r\n":
            break
        if line[:1] in b" \t" and fields:
            last = fields[-1]
            fields[-1] = Field(last.name, last.raw + line)
        elif found := _FIELD.match(line):
            fields.append(Field(found[1].lower(), line))
        else:
            body.add(line)
            break
    for line in lines:
        body.add(line)
    return Message(fields, body)


def _lines(stream: IO[bytes], dots: bool) -> Iterator[bytes]:
    """Lines with CRLF; one that is very long in pieces, the last of which has it. A bare CR ends a line too, since
    mail cannot carry it (RFC 5321 section 2.3.8), and several before an LF are one."""
    start, held = True, b""
    while piece := stream.readline(_PIECE):
        if dots and start and piece in (b".\n", b".\r\n", b"."):
            break
        if b"\0" in piece:
            raise DataError("the message holds a NUL, which mail cannot carry; encode it (MIME base64)")
        start = piece.endswith(b"\n")
        line = held + piece
        kept = line.rstrip(b"\r\n" if start else b"\r")
        held = b"" if start else line[len(kept) :]
        *ended, last = kept.split(b"\r")
        for part in ended:
            yield part + b"\r\n"
        if start:
            yield last + b"\r\n"
        elif last:
            yield last
    if not start:
        yield b"\r\n"


def _nameless_file() -> IO[bytes]:
    import tempfile

    return tempfile.TemporaryFile()


def _addresses(value: bytes) -> Iterator[str]:
    for _, _, local, host in parse_addresses(value, MAX_RECIPIENTS):
        if not local or host is None:
            continue  # a group's begin or end
        try:
            plain, domain = local.decode(), host.decode()
        except UnicodeDecodeError:
            raise DataError(f"an address is not UTF-8: {(local + b'@' + host)!r}") from None
        yield f"{_local(plain)}@{domain}" if domain else _local(plain)


def _local(plain: str) -> str:
    """A local part as the envelope writes it: quoted when it must be."""
    if plain.isascii() and not _DOT_ATOM.fullmatch(plain):
        return '"' + re.sub(r'(["\\])', r"\\\1", plain) + '"'
    return plain


def _phrase(name: str) -> str:
    """A display name as a header writes it (RFC 5322 section 3.2.5, RFC 2047)."""
    name = " ".join(name.split())
    if not name.isascii() or not name.isprintable():
        octets = name.encode("utf-8", "replace")
        words: Sequence[bytes] = [octets] if len(octets) <= 42 else _cut(name)
        return " ".join(f"=?utf-8?B?{b64encode(word).decode()}?=" for word in words)
    if _ATOMS.fullmatch(name):
        return name
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'


def _cut(name: str) -> list[bytes]:
    """Pieces of at most 42 octets that end between two characters: 75 is the most of an encoded word."""
    words, piece = [], b""
    for octets in (char.encode("utf-8", "replace") for char in name):
        if len(piece) + len(octets) > 42:
            words.append(piece)
            piece = b""
        piece += octets
    return [*words, piece]
