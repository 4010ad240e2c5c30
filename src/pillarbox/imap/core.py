"""IMAP server core: bytes in, events out, no I/O, no clock, no storage (RFC 3501, RFC 9051).

The session that drives it owns the socket, TLS, the mailbox and every deadline:

    core.receive(data)                         # bytes that come while we answer only join the buffer
    while (event := core.next_event()):        # one event per complete command, see `events`
        ...; core.untagged(...); core.tagged(event.tag, "OK", "FETCH completed")
    for piece in core.output(): ...            # pulled while the transport takes it

Rules that hold here:
- One event waits for its answer at a time: `next_event` gives None until the answer is in.
- It never raises on input, and the same bytes in another split end in the same events and replies.
- A command has at most `Limits.command` octets without its literals and `Limits.literals` in them (APPEND's message
  apart); what is over is refused at once and skipped without being kept.
- What is legal when is in `rules.COMMANDS`, what is advertised in `extensions.EXTENSIONS`, and nowhere else.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import cast

from pillarbox.imap import append_grammar
from pillarbox.imap.annotation_grammar import NeedsLiteral
from pillarbox.imap.append_grammar import End, Inside, Segment, Step, Text, Url
from pillarbox.imap.commands import Append, Args, Login
from pillarbox.imap.events import (
    AppendEnd,
    AppendStart,
    Authenticate,
    AuthResponse,
    CatenateText,
    CatenateUrl,
    Command,
    Event,
    Idle,
    IdleDone,
    LiteralChunk,
    Logout,
    StartTls,
)
from pillarbox.imap.extensions import ENABLES, Offer, capabilities
from pillarbox.imap.heads import tag_of, understood
from pillarbox.imap.intake import Announced, Chunk, Intake, Line, TooLong
from pillarbox.imap.limits import Limits
from pillarbox.imap.outbox import Outbox, response_text
from pillarbox.imap.rules import Parsed, Rule
from pillarbox.imap.session_grammar import unbase64
from pillarbox.imap.state import State
from pillarbox.imap.syntax import BadSyntax, Cursor, Refused


class _Hearing(Enum):
    COMMANDS = auto()
    MESSAGE = auto()  # the literals of APPEND and what stands between them
    IDLE = auto()  # DONE
    SASL = auto()  # the answer to a challenge
    NOTHING = auto()  # STARTTLS was accepted: nothing is heard until `tls_started`


_GO_ON = b"+ Ready for literal data\r\n"
_UID_REQUIRED = ("message numbers are not used once UIDONLY is enabled, RFC 9586 section 3", "UIDREQUIRED")
_APPENDING = frozenset({"APPEND", "REPLACE"})


class ImapCore:
    """One client's conversation. Not thread-safe; one instance a connection."""

    def __init__(
        self, hostname: str, *, tls: bool = False, limits: Limits | None = None, offer: Offer | None = None
    ) -> None:
        self.hostname = hostname
        self.tls = tls
        self.limits = limits or Limits()
        self.offer = offer or Offer()
        self.state = State.NOT_AUTHENTICATED
        self.enabled: set[str] = set()
        self.errors = 0
        self._intake = Intake()
        self._out = Outbox()
        self._hearing = _Hearing.COMMANDS
        self._pending: Event | None = None
        self._tag = b""  # of the command that is being answered
        self._sync = True  # the literal of APPEND waits for a continuation
        self._steps: deque[Step] = deque()  # of APPEND, not given out yet
        self._inside = Inside.NOTHING
        self._appending: Append | None = None  # the mailbox of the APPEND under way
        self._literal8 = False  # the literal that comes may hold NUL
        self._nul = False  # one that may not does

    # What comes in

    @property
    def closed(self) -> bool:
        """BYE was said: write the output and close."""
        return self.state is State.LOGOUT

    @property
    def utf8(self) -> bool:
        """Names and quoted strings go out in UTF-8: IMAP4rev2 or UTF8=ACCEPT is enabled."""
        return "IMAP4REV2" in self.enabled or "UTF8=ACCEPT" in self.enabled

    @property
    def buffered(self) -> int:
        """Octets received and not understood yet: stop reading while an event is answered and this grows."""
        return self._intake.buffered

    def receive(self, data: bytes) -> None:
        """Take what arrived. Ignored while TLS is being set up and after the end."""
        if self._hearing is not _Hearing.NOTHING and self.state is not State.LOGOUT:
            self._intake.feed(data)

    def take_buffered(self) -> bytes:
        """Octets that came and were not understood yet: they are not what they seem (COMPRESS)."""
        return self._intake.take()

    def next_event(self) -> Event | None:
        """The next event, or None: more bytes are needed, or the last event waits for its answer."""
        limits = self.limits
        while self._pending is None and self.state is not State.LOGOUT:
            if self._steps:
                return self._step()
            before = self.state is State.NOT_AUTHENTICATED
            frame = self._intake.next(limits.command_before_login if before else limits.command)
            if frame is None:
                break
            if self._hearing is _Hearing.MESSAGE:
                event = self._more(frame)
            else:
                event = self._complete(frame) if isinstance(frame, bytes) else self._partly(frame)
            if event is not None:
                if not isinstance(event, LiteralChunk):
                    self._pending = event
                return event
        return None

    # What goes out

    def output(self) -> Iterator[bytes]:
        """All that is to be written, in pieces; what is not asked for stays for the next call."""
        return self._out.pull()

    def write(self, data: bytes) -> None:
        """Whole responses, rendered, each with its `* ` and CRLF: many FETCH responses at once."""
        self._out.write(data)

    def untagged(self, *pieces: bytes) -> None:
        """`* ` and the pieces and CRLF."""
        if len(pieces) == 1 and len(pieces[0]) < 4096:
            self._out.write(b"* %b\r\n" % pieces[0])
            return
        self._out.write(b"* ")
        for piece in pieces:
            self._out.write(piece)
        self._out.write(b"\r\n")

    def condition(self, status: str, text: str, code: str | None = None) -> None:
        """`* OK [code] text`: an untagged OK, NO or BAD."""
        self._out.write(b"* %b %b\r\n" % (status.encode("ascii"), response_text(text, code, self.utf8)))

    def tagged(self, tag: bytes, status: str, text: str, code: str | None = None) -> None:
        """Answer the pending event: "OK", "NO" or "BAD". A refused APPEND literal is skipped."""
        if self.state is State.LOGOUT:
            return
        self._pending = None
        self._hearing = _Hearing.COMMANDS
        self._steps.clear()
        self._appending = None
        self._intake.forget()
        self._out.write(b"%b %b %b\r\n" % (tag, status.encode("ascii"), response_text(text, code, self.utf8)))
        if status == "OK":
            if self.state is not State.NOT_AUTHENTICATED:
                self.errors = 0
        elif status == "BAD" or self.state is State.NOT_AUTHENTICATED:  # a refused login counts, RFC 9051 section 11.4
            self._count()

    def continuation(self, text: str = "idling") -> None:
        """`+ text`: accept the pending Idle."""
        self._out.write(b"+ %b\r\n" % response_text(text, None, self.utf8))
        if isinstance(self._pending, Idle):
            self._pending = None
            self._hearing = _Hearing.IDLE
            self._intake.plain_line()

    def challenge(self, data: bytes = b"") -> None:
        """Answer Authenticate or AuthResponse with the mechanism's next challenge."""
        self._out.write(b"+ %b\r\n" % base64.b64encode(data))
        self._pending = None
        self._hearing = _Hearing.SASL
        self._intake.plain_line()

    def accept_literal(self) -> None:
        """Answer AppendStart or CatenateText: the literal may come."""
        if self._sync:
            self._out.write(_GO_ON)
        self._pending = None
        self._hearing = _Hearing.MESSAGE
        self._nul = False
        self._intake.hand_out()

    def go_on(self) -> None:
        """Answer AppendStart of a message that is put together, or CatenateUrl."""
        self._pending = None

    def greet(self, text: str = "Pillarbox IMAP ready") -> None:
        """The greeting, with the capabilities (RFC 9051 section 7.1)."""
        self.condition("OK", f"{self.hostname} {text}", self.capability_code())

    def bye(self, text: str, code: str | None = None) -> None:
        """`* BYE text`; nothing is heard after it."""
        self.condition("BYE", text, code)
        self._pending = None
        self.state = State.LOGOUT
        self._intake.clear()

    def logout(self) -> None:
        """Answer Logout."""
        tag = self._tag
        self.bye("logging out")
        self._out.write(b"%b OK LOGOUT completed\r\n" % tag)

    # What changes the state

    def capabilities(self) -> str:
        """The capabilities of this moment: `IMAP4rev1 IMAP4rev2 ...`."""
        return capabilities(self.state, self.tls, self.offer, self.limits.append, self.limits.save)

    def capability_code(self) -> str:
        """The response code for the answer to LOGIN and AUTHENTICATE (after `authenticated`)."""
        return "CAPABILITY " + self.capabilities()

    def tls_started(self) -> None:
        """TLS is up: the client is to ask for capabilities again."""
        self.tls = True
        self._pending = None
        self._hearing = _Hearing.COMMANDS

    def authenticated(self) -> None:
        """The login is good (or the mailbox was let go of: `unselected`)."""
        self.state = State.AUTHENTICATED
        self.errors = 0

    def unauthenticated(self) -> None:
        """Nobody is logged in any more, and nothing is enabled (RFC 8437 section 3)."""
        self.state = State.NOT_AUTHENTICATED
        self.enabled.clear()
        self.errors = 0

    def selected(self) -> None:
        self.state = State.SELECTED

    def unselected(self) -> None:
        self.state = State.AUTHENTICATED

    def enable(self, names: Iterable[str]) -> tuple[str, ...]:
        """Turn on what can be turned on; those that were not on before. QRESYNC turns on CONDSTORE (RFC 7162 3.2.3)."""
        fresh = tuple(name for name in names if name in ENABLES and name not in self.enabled)
        self.enabled.update(fresh)
        if "QRESYNC" in fresh:
            self.enabled.add("CONDSTORE")
        return fresh

    # Understanding what came

    def _partly(self, frame: Announced | TooLong | Chunk | Line) -> Event | None:
        """What is no whole command."""
        match frame:
            case Chunk(data):
                return LiteralChunk(data)
            case Line(line):
                return self._line(line)
            case TooLong(start):
                self._refuse(start, "BAD", "the command line is too long", "TOOBIG")
                return None
            case Announced():
                return self._announced(frame)

    def _line(self, line: bytes | None) -> Event:
        """A line that is no command; None: it was too long."""
        match self._hearing:
            case _Hearing.SASL:
                return AuthResponse(self._tag, None if line is None or line == b"*" else unbase64(line))
            case _:
                good = line is not None and line.rstrip(b" ").upper() == b"DONE"
                return IdleDone(self._tag, None if good else "only DONE ends IDLE, RFC 9051 section 6.3.13")

    def _announced(self, frame: Announced) -> Event | None:
        """A command came as far as a literal: is it wanted?"""
        start = frame.start
        found = understood(start, self.state)
        if isinstance(found, str):
            self._refuse(start, "BAD", found)
            return None
        head, rule = found
        if rule.numbers and "UIDONLY" in self.enabled:
            self._refuse(start, "BAD", *_UID_REQUIRED)
            return None
        if rule.name in _APPENDING:
            self._tag = head[1]
            try:
                segment = cast(Segment, rule.parse(self._cursor(self._intake.text(), head.end())))
            except NeedsLiteral:
                pass
            except (BadSyntax, Refused) as error:
                self.tagged(self._tag, *_reason(error))
                return None
            else:
                return self._segment(segment, frame)
        self._string(frame, start, rule)
        return None

    def _string(self, frame: Announced, start: bytes, rule: Rule) -> None:
        """The announced literal is a string of the command, if it may be."""
        limits = self.limits
        before = self.state is State.NOT_AUTHENTICATED
        if rule.bare:
            self._refuse(start, "BAD", f"{rule.name} takes no literal")
        elif frame.literals > (limits.literals_before_login if before else limits.literals):
            self._refuse(start, "BAD", "the literal is too long", "TOOBIG")
        else:  # a string: for APPEND the mailbox's name
            if frame.sync:
                self._out.write(_GO_ON)
            self._intake.collect()

    def _segment(self, segment: Segment, frame: Announced | None) -> Event | None:
        """A part of APPEND is understood, up to a literal (`frame`) or to the end: its steps, the session's to take."""
        last = segment.steps[-1]
        if isinstance(last, Append | Text) and last.size > self.limits.append:  # RFC 7889 section 3
            return self._broken(f"a message has at most {self.limits.append} octets", "TOOBIG", "NO")
        if frame is None and last is not End.END:
            return self._broken("the literal is missing")
        self._sync = frame is None or frame.sync
        self._appending, self._inside = segment.head, segment.inside
        self._steps.extend(segment.steps)
        return self._step()

    def _step(self) -> Event:
        """The next step of APPEND."""
        tag = self._tag
        match self._steps.popleft():
            case Append() as args:
                self._literal8 = args.binary
                event: Event = AppendStart(tag, args)
            case Text(size, binary):
                self._literal8 = binary
                event = CatenateText(tag, size, binary)
            case Url(url):
                event = CatenateUrl(tag, url)
            case End():
                event = AppendEnd(tag)
        self._pending = event
        return event

    def _more(self, frame: bytes | Announced | TooLong | Chunk | Line) -> Event | None:
        """APPEND goes on: octets of a literal, or what follows one."""
        assert self._appending is not None
        match frame:
            case Chunk(data):
                self._nul = self._nul or (not self._literal8 and b"\0" in data)
                return LiteralChunk(data)
            case TooLong() | Line():
                return self._broken("the command line is too long", "TOOBIG")
        if self._nul:
            return self._broken("a literal holds no NUL, RFC 9051 section 4.3; a literal8 may")
        announced = frame if isinstance(frame, Announced) else None
        text = frame if isinstance(frame, bytes) else self._intake.text()
        try:
            segment = append_grammar.more(self._cursor(text, 0), self._appending, self._inside)
        except NeedsLiteral:
            if announced is None:
                return self._broken("the literal is missing")
            if announced.literals > self.limits.literals:
                return self._broken("the literal is too long", "TOOBIG")
            if announced.sync:
                self._out.write(_GO_ON)
            self._intake.collect()
            return None
        except (BadSyntax, Refused) as error:
            status, why, code = _reason(error)
            return self._broken(why, code, status)
        return self._segment(segment, announced)

    def _broken(self, why: str, code: str | None = None, status: str = "BAD") -> Event | None:
        """APPEND ends here. The session is to hear of it, if it has heard of its beginning."""
        if self._appending is None:
            self.tagged(self._tag, status, why, code)
            return None
        return AppendEnd(self._tag, why, code, status)

    def _cursor(self, text: bytes, at: int) -> Cursor:
        return Cursor(text, at, utf8=self.utf8, enabled=self.enabled)

    def _refuse(self, text: bytes, status: str, why: str, code: str | None = None) -> None:
        """Answer a command that no event is made of; `text` begins with its tag, if it has one."""
        self.tagged(tag_of(text), status, why, code)

    def _complete(self, line: bytes) -> Event | None:
        """A whole command is here."""
        found = understood(line, self.state)
        if isinstance(found, str):
            self._refuse(line, "BAD", found)
            return None
        head, rule = found
        if rule.numbers and "UIDONLY" in self.enabled:
            self._refuse(line, "BAD", *_UID_REQUIRED)
            return None
        self._tag = tag = head[1]
        try:
            args = rule.parse(self._cursor(line, head.end()))
        except NeedsLiteral:
            self.tagged(tag, "BAD", "the literal is missing")
            return None
        except (BadSyntax, Refused) as error:
            self.tagged(tag, *_reason(error))
            return None
        if isinstance(args, Segment):
            return self._segment(args, None)
        match rule.name:
            case "CAPABILITY":
                self.untagged(self.capability_code().encode("ascii"))
                self.tagged(tag, "OK", "CAPABILITY completed")
                return None
            case "STARTTLS":
                return self._starttls(tag)
            case "LOGIN" | "AUTHENTICATE":
                return self._login(tag, rule.name, args)
            case "LOGOUT":
                return Logout(tag)
            case "IDLE":
                return Idle(tag)
        return Command(tag, rule.name, cast("Args | None", args), rule.uid)

    def _starttls(self, tag: bytes) -> Event | None:
        if self.tls or not self.offer.starttls:
            self.tagged(tag, "BAD", "TLS is on already" if self.tls else "STARTTLS is not available")
            return None
        self.tagged(tag, "OK", "begin TLS negotiation now")
        self._intake.clear()  # nothing said in the clear is heard after it (CVE-2011-0411, RFC 9051 section 11.1)
        self._hearing = _Hearing.NOTHING
        return StartTls(tag)

    def _login(self, tag: bytes, name: str, args: Parsed) -> Event | None:
        if not self.tls and not self.offer.plaintext:
            self.tagged(tag, "NO", "passwords go over TLS only: STARTTLS first", "PRIVACYREQUIRED")  # RFC 9051 6.2.3
            return None
        if isinstance(args, Login):
            return Command(tag, name, args)
        mechanism, initial = cast("tuple[str, bytes | None]", args)
        if mechanism not in self.offer.auth:
            self.tagged(tag, "NO", f"the mechanisms are {' '.join(self.offer.auth)}")
            return None
        return Authenticate(tag, mechanism, initial)

    def _count(self) -> None:
        self.errors += 1
        before = self.state is State.NOT_AUTHENTICATED
        if self.errors >= (self.limits.errors_before_login if before else self.limits.errors):
            self.bye("too many errors")


def _reason(error: BadSyntax | Refused) -> tuple[str, str, str | None]:
    return ("NO", str(error), error.code) if isinstance(error, Refused) else ("BAD", str(error), error.code)
