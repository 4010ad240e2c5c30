"""Mending the header of a submitted message while it comes in (RFC 6409 sections 6 and 8).

What is missing is added (From, Date, Message-ID), blind copies are taken out, the line of an mbox in front becomes a
field, and who it says it is from is read. All else stays octet by octet: order, folding, spelling. The header is held
until it is whole, up to a bound; the body is passed on as it comes.

    mender = Mender(author, message_id, hostname, epoch)
    spool.feed(mender.feed(data)) ...       # what may be kept of the message so far
    spool.feed(mender.finish())
    mender.fault, mender.authors            # why it is refused, if it is; who it is from
    mender.message_id                       # the raw value of its Message-ID

The same octets in another split give the same octets, authors and fault.

What programs of this machine write is mended as far as can be, and never refused for what it looks like (`strict`
False): `cron` has always written From without a domain.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

from pillarbox.mime.address import parse_addresses
from pillarbox.mime.address_grammar import is_address_list
from pillarbox.smtp.address import MAX_PATH, AddressError, Path, parse_path, quoted_local
from pillarbox.smtp.received import rfc5322_date

HEADER_LIMIT = 256 * 1024  # octets of a header
MOST_AUTHORS = 50  # addresses in From, and groups around them
_OFTEN = 200  # octets of a field that an account writes into every message
_FIRST_LINE = 1000  # octets within which a first line shows that it is a field; as the scanner of `mime` has it

_END = b"\r\n\r\n"
_FIELD = re.compile(rb"[!-9;-~]++[ \t]*+:")
_MBOX = (b"From ", b">From ")  # the line in front of a message in an mbox
_NO_FIELD_BUT_HEADER = (*_MBOX, b" ", b"\t")  # and a continuation of nothing
_OF_INTEREST = re.compile(rb"^(from|sender|date|message-id|bcc|resent-bcc)[ \t]*:", re.I | re.M)
_NO_FIELD = re.compile(rb"^(?![!-9;-~]+[ \t]*:|[ \t]|\Z)", re.M)  # nor the continuation of one
_FIELD_END = re.compile(rb"\r\n(?![ \t])")


class Fault(Enum):
    """Why a message is refused. How that is said is the protocol's business."""

    HEADER_TOO_LARGE = "the header is too large"
    BAD_HEADER = "the header has a bare CR or LF, or a NUL"
    NO_HEADER = "the first line is no field"
    NO_FIELD = "the header has a line that is no field"
    BAD_FROM = "From is no list of addresses as RFC 5322 has it"
    MANY_FROM = "more than one From"
    BAD_SENDER = "Sender is not one address as RFC 5322 has it"


class Mender:
    """One message. `author` is the account's address, for a message that says no author; the name of the message is
    made from `message_id` and `hostname`, its date from `epoch` (seconds)."""

    __slots__ = (
        "_author", "_begun", "_epoch", "_header", "_in_header", "_seek", "_strict", "authors", "fault", "message_id",
    )  # fmt: skip

    def __init__(self, author: str, message_id: str, hostname: str, epoch: float, *, strict: bool = True) -> None:
        self._author = author
        self._strict = strict
        self.message_id = f"<{message_id}@{hostname}>".encode()  # or what the header has, once it was whole
        self._epoch = epoch
        self._in_header = True
        self._header = bytearray()  # while it is not whole
        self._begun = False  # its first line has shown that it is a header
        self._seek = 0  # before this its end was looked for
        self.fault: Fault | None = None
        self.authors: list[Path] = []  # of From and Sender, once the header was whole

    @property
    def held(self) -> int:
        """Octets that wait here."""
        return len(self._header)

    def feed(self, data: bytes) -> bytes:
        """The next octets of the message; what follows for the spool. After a fault nothing does."""
        if not self._in_header:
            return data if self.fault is None else b""
        if not self._header and (end := self._end(data)) >= 0:  # nearly always: all of it in one piece
            return self._mended(data, end) if end else self._without_header(data)
        self._header += data
        end = self._end(self._header)
        if end >= 0:
            return self._mended(bytes(self._header), end) if end else self._without_header(bytes(self._header))
        self._seek = max(0, len(self._header) - len(_END) + 1)
        if len(self._header) >= HEADER_LIMIT + len(_END):
            return self._too_large(bytes(self._header))
        return b""

    def finish(self) -> bytes:
        """The message is complete: what is left of it for the spool."""
        if not self._in_header:
            return b""
        message = bytes(self._header)
        if not _is_header(message, final=True):
            return self._without_header(message)
        if not message.endswith(b"\r\n"):
            message += b"\r\n"
        return self._mended(message, len(message))

    def _end(self, message: bytes | bytearray) -> int:
        """Where the header ends, its last CRLF included: 0 when there is none, -1 when that is not known yet."""
        if not self._begun:
            verdict = _is_header(message, final=False)
            if not verdict:
                return -1 if verdict is None else 0
            self._begun = True
        at = message.find(_END, self._seek)
        return at + 2 if at >= 0 else -1

    def _too_large(self, message: bytes) -> bytes:
        if not self._strict:
            return self._as_it_is(message)
        start = message[:HEADER_LIMIT]
        self._leave(Fault.BAD_HEADER if _is_bad(start.removesuffix(b"\r")) else Fault.HEADER_TOO_LARGE)
        return b""

    def _as_it_is(self, message: bytes) -> bytes:
        self._leave(None)
        self.message_id = b""  # whatever it has
        return message

    def _leave(self, fault: Fault | None) -> None:
        self._in_header = False
        self._header = bytearray()
        self.fault = fault

    def _without_header(self, message: bytes) -> bytes:
        """A message that says with an empty line that it has no header, or has nothing at all, gets one. Any other
        would be text as a whole, with what its author thinks is the header in it: whom Bcc names too."""
        if self._strict and message and not message.startswith(b"\r\n"):
            self._leave(Fault.NO_HEADER)
            return b""
        return self._mended(message, 0)

    def _mended(self, message: bytes, end: int) -> bytes:
        """The message with its header `message[:end]` mended; without a header it gets one."""
        if end > HEADER_LIMIT:
            return self._too_large(message)
        header = message[:end]
        if _is_bad(header):
            if not self._strict:
                return self._as_it_is(message)
            self._leave(Fault.BAD_HEADER)
            return b""
        kept: list[bytes] = []
        if header.startswith(_MBOX) and _FIELD.match(header) is None:
            header = b"X-Mailbox-Line: " + header
        whole = _whole(header)
        if whole < len(header) and self._strict:
            self._leave(Fault.NO_FIELD)  # where it ends would be another matter for each who reads it
            return b""
        text = b"\r\n" + header[whole:] if whole < len(header) else b""
        header = header[:whole]
        at = 0
        seen: set[bytes] = set()
        fault: Fault | None = None
        for found in _OF_INTEREST.finditer(header):
            name = found[1].lower()
            ending = _FIELD_END.search(header, found.end())
            after = ending.end() if ending is not None else len(header)
            if name.endswith(b"bcc"):
                kept.append(header[at : found.start()])
                at = after
            elif name in (b"from", b"sender"):
                fault = fault or self._author_field(name, header[found.end() : after], again=name in seen)
            elif name == b"message-id" and name not in seen:
                self.message_id = header[found.end() : after]
            seen.add(name)
        self._leave(fault if self._strict else None)
        if self.fault is not None:
            return b""
        kept += [header[at:], self._missing(seen), text]
        if not end and not message.startswith(b"\r\n"):
            kept.append(b"\r\n")
        return b"".join((*kept, message[end:]))

    def _author_field(self, name: bytes, value: bytes, *, again: bool) -> Fault | None:
        """Read the addresses of a From or Sender."""
        bad = Fault.BAD_FROM if name == b"from" else Fault.BAD_SENDER
        if again:
            return Fault.MANY_FROM if name == b"from" else bad
        read = _authors if len(value) <= _OFTEN else _authors.__wrapped__
        authors = read(value, MOST_AUTHORS if name == b"from" else 1)
        if authors is None:
            return bad
        self.authors += authors
        return None

    def _missing(self, seen: set[bytes]) -> bytes:
        """The fields that the message lacks."""
        added = b""
        if b"from" not in seen:
            added += f"From: {self._author}\r\n".encode()
        if b"date" not in seen:
            added += f"Date: {rfc5322_date(self._epoch)}\r\n".encode()
        if b"message-id" not in seen:
            added += b"Message-ID: %b\r\n" % self.message_id
        return added


@lru_cache(maxsize=256)
def _authors(value: bytes, most: int) -> tuple[Path, ...] | None:
    """The addresses of a field; None when it is no list of them, or of more than `most`."""
    if not is_address_list(value):  # what one reader takes for the address another may not
        return None
    entries = parse_addresses(value, MOST_AUTHORS + 1)
    found = [entry for entry in entries if entry[3] is not None]  # no group
    if not found or len(entries) > most:
        return None
    try:
        written = [f"{quoted_local((local or b'').decode())}@{(host or b'').decode()}" for _, _, local, host in found]
        return tuple(parse_path(address, max_local=MAX_PATH) for address in written)
    except (AddressError, UnicodeDecodeError):
        return None


def _is_header(message: bytes | bytearray, *, final: bool) -> bool | None:
    """Whether a message that begins so has a header; None when that is not known yet."""
    line = bytes(message[:_FIRST_LINE])
    cut = line.find(b"\r\n")
    if cut < 0 and len(line) < _FIRST_LINE and not final:
        return None
    first = line if cut < 0 else line[:cut]
    return _FIELD.match(first) is not None or first.startswith(_NO_FIELD_BUT_HEADER)


def _whole(header: bytes) -> int:
    """Up to where it consists of fields."""
    if header.startswith((b" ", b"\t")):
        return 0
    stranger = _NO_FIELD.search(header)
    return len(header) if stranger is None else stranger.start()


def _is_bad(header: bytes) -> bool:
    rest = header.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest or b"\0" in rest
