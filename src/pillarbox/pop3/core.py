"""POP3 server core: bytes in, events out, no I/O, no clock, no storage.

    core.receive(data)                        # bytes that come while we answer only join the buffer
    while (event := core.next_event()):       # one event per complete command; answer it before the next
        ...                                   # core.reply(...), core.challenge(...), core.logged_in() ...
    for piece in core.output(): ...           # taken as fast as the transport drains

- `next_event` either gives an event or answers the client itself; it never raises on input, and the same bytes in
  another split end in the same events and replies.
- A client error costs one of `MAX_ERRORS`; the last one closes the connection.
- What is legal when is in `commands.COMMANDS` and nowhere else.
"""

from __future__ import annotations

import binascii
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from pillarbox.pop3.commands import (
    COMMANDS,
    Auth,
    AuthResponse,
    Command,
    Event,
    Login,
    Quit,
    Reply,
    Rule,
    StartTls,
    State,
)

MAX_LINE = 255  # octets with CRLF, RFC 2449 section 4
MAX_RESPONSE = 12 * 1024  # octets of a line within AUTH, RFC 4422 leaves it to us; as in our SMTP
MAX_ERRORS = 5  # then the peer is no POP3 client
MAX_NUMBER = 10  # digits; more messages or lines there are not


class Pop3Core:
    """One client's conversation. Not thread-safe; one instance a connection."""

    def __init__(
        self,
        hostname: str,
        *,
        tls: bool = False,
        starttls: bool = False,
        mechanisms: Sequence[str] = (),
        clear_login: bool = False,
    ) -> None:
        """`starttls`: STLS is offered. `mechanisms`: what AUTH offers now (the session may change it after TLS).
        `clear_login`: passwords are taken without TLS."""
        self.hostname = hostname
        self.state = State.AUTHORIZATION
        self.tls = tls
        self.utf8 = False
        self.mechanisms = tuple(mechanisms)
        self._starttls = starttls
        self._clear_login = clear_login
        self._in = bytearray()
        self._out: deque[Iterable[bytes]] = deque()
        self._errors = 0
        self._user: str | None = None
        self._owed = False  # an event waits for its answer
        self._closing = False  # after the next reply
        self._stuffer = Stuffer()

    # In and out.

    def greet(self) -> None:
        self._say(True, f"{self.hostname} POP3 ready")

    def receive(self, data: bytes) -> None:
        """Take what arrived. Ignored while TLS is being set up and after the end."""
        if self.state not in (State.UPGRADING, State.CLOSED):
            self._in += data

    @property
    def buffered(self) -> int:
        """Octets that have arrived and were not looked at."""
        return len(self._in)

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    def next_event(self) -> Event | None:
        """The next command that needs an answer; None when more bytes are needed or an answer is owed."""
        while not self._owed and self.state not in (State.UPGRADING, State.CLOSED):
            line = self._line()
            if line is None:
                return None
            event = self._response(line) if self.state is State.EXCHANGE else self._command(line)
            if event is not None:
                self._owed = not isinstance(event, StartTls)
                return event
        return None

    def output(self) -> Iterator[bytes]:
        """All that is to be written, in pieces; the session stops asking while the client is slow."""
        while self._out:
            yield from self._out.popleft()

    # What the session answers.

    def reply(self, reply: Reply) -> None:
        """Answer the event that was given last."""
        self._owed = False
        if self.state is State.EXCHANGE:
            self.state = State.AUTHORIZATION
        self._say(reply.ok, reply.text, reply.code)
        if reply.open_end:
            self._stuffer = Stuffer()
            self._owed = True
        elif reply.content is not None:
            self._out.append(stuffed(reply.content))
        if self._closing:
            self.state = State.CLOSED

    def content(self, piece: bytes) -> None:
        """After `reply` with `open_end`: the next piece of the text, cut anywhere."""
        self._out.append((self._stuffer.piece(piece),))

    def end_content(self) -> None:
        """The text is complete."""
        self._out.append((self._stuffer.end(),))
        self._owed = False

    def challenge(self, data: bytes) -> None:
        """Go on with AUTH: the next line is the client's response."""
        self._owed = False
        self.state = State.EXCHANGE
        self._out.append((b"+ " + binascii.b2a_base64(data, newline=False) + b"\r\n",))

    def logged_in(self, text: str = "maildrop ready") -> None:
        """The answer to a login that is right."""
        self.reply(Reply(True, text))
        self.state = State.TRANSACTION
        self._errors = 0

    def tls_started(self) -> None:
        self.tls = True
        self.state = State.AUTHORIZATION

    def close(self, text: str, code: str = "") -> None:
        """Say why and close. RFC 1939 has no reply that answers nothing, but every client shows it."""
        if self.state is not State.CLOSED:
            self._say(False, text, code)
            self.state = State.CLOSED

    # Inside.

    def _say(self, ok: bool, text: str, code: str = "") -> None:
        words = ("+OK" if ok else "-ERR", f"[{code}]" if code else "", text)
        self._out.append((" ".join(filter(None, words)).encode() + b"\r\n",))

    def _line(self) -> bytes | None:
        """The next line without its CRLF; a line that is too long ends the conversation."""
        longest = MAX_RESPONSE if self.state is State.EXCHANGE or self._in[:5].upper() == b"AUTH " else MAX_LINE
        end = self._in.find(b"\r\n", 0, longest)
        if end < 0:
            if len(self._in) >= longest:
                self.close("line too long")
            return None
        line = bytes(self._in[:end])
        del self._in[: end + 2]
        return line

    def _command(self, line: bytes) -> Event | None:
        verb, _, rest = line.decode("utf-8", "replace").partition(" ")
        verb = verb.upper()
        rule = COMMANDS.get(verb)
        if rule is None:
            return self._error("unknown command")
        if self.state not in rule.states:
            return self._error(f"{verb} is not for now")
        handler: Callable[[str], Event | None] | None = getattr(self, f"_{verb}", None)
        if handler is not None:
            return handler(rest)
        return self._numbered(verb, rest, rule)

    def _CAPA(self, rest: str) -> Event | None:
        names = ["TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE NEVER"]
        names += ["UTF8 USER", "LANG"]  # RFC 6856 section 2
        if self._may_log_in:
            names.append("USER")
        if self.mechanisms and self._may_log_in:
            names.append("SASL " + " ".join(self.mechanisms))  # RFC 5034 section 6
        if self._starttls and not self.tls and self.state is State.AUTHORIZATION:
            names.append("STLS")
        names.append("IMPLEMENTATION Pillarbox")
        self._say(True, "capabilities follow")
        self._out.append(stuffed(["".join(f"{name}\r\n" for name in names).encode()]))
        return None

    @property
    def _may_log_in(self) -> bool:
        return self.tls or self._clear_login

    def _USER(self, rest: str) -> Event | None:
        if not self._may_log_in:
            return self._error("say STLS first: passwords are taken over TLS only")
        if not rest:
            return self._error("USER needs a name")
        self._user = rest
        self._say(True, "send PASS")
        return None

    def _PASS(self, rest: str) -> Event | None:
        if self._user is None:
            return self._error("send USER first")
        user, self._user = self._user, None
        return Login(user, rest)  # a password may hold spaces: the rest of the line is all of it

    def _AUTH(self, rest: str) -> Event | None:
        words = rest.split()
        if not words:  # the form of RFC 1734's drafts, which clients still try: the list of mechanisms
            self._say(True, "mechanisms follow")
            listed = self.mechanisms if self._may_log_in else ()
            self._out.append(stuffed(["".join(f"{name}\r\n" for name in listed).encode()]))
            return None
        if not self._may_log_in:
            return self._error("say STLS first: passwords are taken over TLS only")
        mechanism = words[0].upper()
        if len(words) > 2 or mechanism not in self.mechanisms:
            return self._error("there is no such mechanism")
        if len(words) == 1:
            return Auth(mechanism, None)
        initial = b"" if words[1] == "=" else _decoded(words[1].encode())  # "=": empty, RFC 5034 section 4
        if initial is None:
            return self._error("that is no base64")
        return Auth(mechanism, initial)

    def _response(self, line: bytes) -> Event:
        return AuthResponse(None if line == b"*" else _decoded(line))  # "*" cancels, RFC 5034 section 4

    def _STLS(self, rest: str) -> Event | None:
        if self.tls or not self._starttls:
            return self._error("TLS is on already" if self.tls else "TLS is not offered")
        self._say(True, "begin TLS")
        self._in.clear()  # nothing said in the clear is heard after it (CVE-2011-0411)
        self._user = None
        self.state = State.UPGRADING
        return StartTls()

    def _UTF8(self, rest: str) -> Event | None:
        self.utf8 = True
        self._say(True, "UTF-8 it is")
        return None

    def _LANG(self, rest: str) -> Event | None:
        language = rest.strip().lower()
        if not language:
            self._say(True, "languages follow")
            self._out.append(stuffed([b"en English\r\n"]))
        elif language in ("*", "en", "i-default"):
            self._say(True, "en English")
        else:
            self._say(False, "that language is not spoken here")
        return None

    def _QUIT(self, rest: str) -> Event:
        self._closing = True
        return Quit(self.state is State.TRANSACTION)

    def _numbered(self, verb: str, rest: str, rule: Rule) -> Event | None:
        least, most = rule.numbers
        words = rest.split()
        if not least <= len(words) <= most or not all(_is_number(word) for word in words):
            return self._error(f"{verb} takes {_counted(least, most)}")
        return Command(verb, tuple(map(int, words)))

    def _error(self, text: str) -> Event | None:
        self._errors += 1
        if self._errors >= MAX_ERRORS:
            self.close("too many errors")
        else:
            self._say(False, text)
        return None


class Stuffer:
    """A multi-line response: lines that begin with a dot get another (RFC 1939 section 3), a lone dot ends it.

    Many clients take a bare LF for the end of a line. A message may hold one (BDAT, APPEND), and with a lone dot behind
    it could end there and go on as an answer of ours. So such a line gets its dot too.
    """

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two octets: what comes next is at the start of a line

    def piece(self, piece: bytes) -> bytes:
        joined = self._tail + piece
        self._tail = joined[-2:]
        return joined[1:].replace(b"\n.", b"\n..")[1:]

    def end(self) -> bytes:
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"


def stuffed(content: Iterable[bytes]) -> Iterator[bytes]:
    """A whole multi-line response, made as it is taken."""
    stuffer = Stuffer()
    for piece in content:
        yield stuffer.piece(piece)
    yield stuffer.end()


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= MAX_NUMBER


def _counted(least: int, most: int) -> str:
    if most == 0:
        return "nothing behind it"
    return f"{most} number{'s' if most > 1 else ''}" if least == most else f"at most {most} number"


def _decoded(text: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
