"""IMAP client core: the other end of `core`, bytes in, events out, no I/O and no clock.

    tag = client.command("LIST", b'"" "*"')
    transport.write(client.output())
    client.receive(data)
    while (event := client.next_event()):
        ...                                    # Untagged responses, then Completed(tag, ...)

For moving mail here from another server, and for playing both ends of a conversation. What a server says never raises:
what is no IMAP ends in `Broken` and a closed core. A literal is held whole, so the longest is a limit.
"""

from __future__ import annotations

import binascii
import re
from collections import deque

from msgspec import Struct

from pillarbox.imap.response_parser import ResponseError, Value, parse_values

MAX_LINE = 1 << 20  # octets of a response outside its literals; some servers list 100,000 UIDs in one
_LITERAL = re.compile(rb"~?\{(\d{1,19})\+?\}\Z")
_CODE = re.compile(rb"\[([^\]]*)\] ?")


class Status(Struct, frozen=True):
    """OK, NO, BAD, BYE or PREAUTH with its response code ("" without one) and text."""

    kind: str
    code: str
    text: str


class Greeting(Struct, frozen=True):
    status: Status


class Untagged(Struct, frozen=True):
    """`* 12 FETCH (...)` is number 12, name FETCH, and the values behind it; `* OK [...]` has a status."""

    name: str
    number: int | None = None
    values: list[Value] = []
    status: Status | None = None


class Continuation(Struct, frozen=True):
    """The server waits for more of a command: the data of a challenge, or for the literal that is sent next."""

    data: bytes


class Completed(Struct, frozen=True):
    """A command has ended."""

    tag: str
    status: Status


class Broken(Struct, frozen=True):
    """The server spoke no IMAP; the core is closed."""

    reason: str


Event = Greeting | Untagged | Continuation | Completed | Broken


class ImapClientCore:
    """One conversation with one server. Not thread-safe."""

    def __init__(self, *, max_literal: int = 256 << 20) -> None:
        """`max_literal`: octets of the longest literal taken."""
        self.closed = False
        self._max_literal = max_literal
        self._in = bytearray()
        self._looked = 0  # octets of the buffer that hold no line end
        self._parts: list[bytes] = []  # of the response that is not complete
        self._awaited = 0  # octets of the literal that is coming, plus one; 0: none
        self._out: list[bytes] = []
        self._held: deque[bytes] = deque()  # parts of commands behind a literal that was not asked for yet
        self._events: deque[Event] = deque()
        self._greeted = False
        self._count = 0

    def receive(self, data: bytes) -> None:
        if not self.closed:
            self._in += data

    def forget_input(self) -> bool:
        """TLS begins: whatever came before it is dropped (RFC 9051 section 6.2.1). Whether there was anything."""
        there = bool(self._in or self._parts or self._events)
        self._in.clear()
        self._parts.clear()
        self._events.clear()
        self._looked = self._awaited = 0
        return there

    def output(self) -> bytes:
        """All that is to be written now."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def command(self, name: str, arguments: bytes = b"", *literals: bytes) -> str:
        """Send a command; its tag. Each `{}` in the arguments is a literal, sent when the server asks for it."""
        self._count += 1
        tag = f"p{self._count}"
        first, *rest = arguments.split(b"{}") if literals else [arguments]
        line = f"{tag} {name}".encode() + (b" " + first if arguments else b"")
        for literal, after in zip(literals, rest, strict=True):
            self._send(line + b"{%d}\r\n" % len(literal))
            self._held.append(literal)
            line = after
        self._send(line + b"\r\n")
        return tag

    def respond(self, data: bytes) -> None:
        """Answer a challenge of AUTHENTICATE."""
        self._out.append(binascii.b2a_base64(data, newline=False) + b"\r\n")

    def _send(self, data: bytes) -> None:
        if self._held:
            self._held[-1] += data  # behind a literal: goes out with it
        else:
            self._out.append(data)

    def next_event(self) -> Event | None:
        """The next event; None when more bytes are needed."""
        while not self._events and not self.closed:
            try:
                if not self._advance():
                    return None
            except ResponseError as error:
                self.closed = True
                self._events.append(Broken(str(error)))
        return self._events.popleft() if self._events else None

    def _advance(self) -> bool:
        """Take a literal or a line from the buffer; False when there is not enough."""
        if self._awaited:
            size = self._awaited - 1
            if len(self._in) < size:
                return False
            self._parts.append(bytes(self._in[:size]))
            del self._in[:size]
            self._awaited = 0
            return True
        end = self._in.find(b"\n", self._looked)
        if end < 0:
            self._looked = len(self._in)
            if self._looked > MAX_LINE:
                raise ResponseError("a line does not end")
            return False
        line = bytes(self._in[:end]).removesuffix(b"\r")
        del self._in[: end + 1]
        self._looked = 0
        self._parts.append(line)
        if (announced := _LITERAL.search(line)) is not None:
            size = int(announced[1])
            if size > self._max_literal:
                raise ResponseError(f"a literal of {size} octets is too long")
            self._awaited = size + 1
            return True
        parts, self._parts = self._parts, []
        self._response(parts)
        return True

    def _response(self, parts: list[bytes]) -> None:
        tag, _, rest = parts[0].partition(b" ")
        if tag == b"+":
            self._continued(rest)
        elif tag == b"*":
            self._untagged([rest, *parts[1:]])
        elif (status := _status(rest)) is not None:
            self._held.clear()  # a literal that is refused is not sent
            self._events.append(Completed(tag.decode("ascii", "replace"), status))
        else:
            raise ResponseError("a response begins with no tag")

    def _continued(self, rest: bytes) -> None:
        if self._held:
            self._out.append(self._held.popleft())
            return
        try:
            self._events.append(Continuation(binascii.a2b_base64(rest)))
        except binascii.Error:
            self._events.append(Continuation(b""))

    def _untagged(self, parts: list[bytes]) -> None:
        status = _status(parts[0])
        if not self._greeted:
            self._greeted = True
            if status is None:
                raise ResponseError("the server does not greet as IMAP does")
            self._events.append(Greeting(status))
        elif status is not None:
            self._events.append(Untagged(status.kind, status=status))
        else:
            first, _, rest = parts[0].partition(b" ")
            if first.isdigit():
                name, _, rest = rest.partition(b" ")
                values = parse_values([rest, *parts[1:]])
                self._events.append(Untagged(_word(name), int(first), values))
            else:
                self._events.append(Untagged(_word(first), values=parse_values([rest, *parts[1:]])))


def _status(line: bytes) -> Status | None:
    kind, _, rest = line.partition(b" ")
    kind = kind.upper()
    if kind not in (b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"):
        return None
    code = _CODE.match(rest)
    text = rest[code.end() :] if code else rest
    return Status(kind.decode(), _text(code[1]) if code else "", _text(text))


def _word(name: bytes) -> str:
    return name.decode("ascii", "replace").upper()


def _text(text: bytes) -> str:
    return text.decode("utf-8", "replace")
