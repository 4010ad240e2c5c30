"""One SMTP conversation below its commands and answers: what the next octets are, and where the transaction is.

`Responder` adds the session's answers, `SmtpCore` the commands. Events come out, answers go in, and nothing else comes
out while an answer is owed.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from pillarbox.smtp import events, replies
from pillarbox.smtp.content import DataReader
from pillarbox.smtp.events import AuthResponse, Content, ContentEnd, Event, Mail, Reset
from pillarbox.smtp.exchange import Chunk, parse_response
from pillarbox.smtp.input import TOO_LONG, Input
from pillarbox.smtp.offer import Limits, Offer
from pillarbox.smtp.patience import Patience
from pillarbox.smtp.replies import Refusal, Reply, encode

# Where the conversation is; a bit each, for the table COMMANDS.
START: Final = 1  # not greeted by the client, or not again since STARTTLS
READY: Final = 2  # greeted, no transaction
SENDER: Final = 4  # MAIL accepted
RECIPIENTS: Final = 8  # at least one RCPT accepted
CHUNKS: Final = 16  # a BDAT accepted, the last one not yet
TRANSACTION: Final = SENDER | RECIPIENTS | CHUNKS

# What the next octets are.
LINES: Final = 0  # commands
TEXT: Final = 1  # the content of a DATA
OCTETS: Final = 2  # the content of a BDAT
SWALLOW: Final = 3  # the octets of a refused BDAT
SASL: Final = 4  # the answer to a challenge
DEAF: Final = 5  # none: TLS is being set up
CLOSED: Final = 6
_LINEWISE: Final = (LINES, SASL)

_CHUNK_ACCEPTED = encode(*replies.CHUNK_ACCEPTED)
_FAULTS = {
    events.TOO_BIG: encode(*replies.TOO_BIG),
    events.NUL: encode(*replies.NUL),
    events.BARE_LINE_END: encode(*replies.BARE_LINE_END),
    events.LONG_LINE: encode(*replies.LONG_LINE),
}


class Conversation(ABC):
    """One client's conversation. Not thread-safe; one instance a connection.

    `offer` may be replaced between events. `tls` and `authenticated` tell what was reached.
    """

    __slots__ = (
        "_chunk",
        "_chunk_left",
        "_ended",
        "_in",
        "_mail",
        "_mode",
        "_out",
        "_owed",
        "_patience",
        "_phase",
        "_reader",
        "_recipients",
        "_refusal",
        "_size",
        "_waiting",
        "authenticated",
        "hostname",
        "limits",
        "lmtp",
        "offer",
        "tls",
    )

    def __init__(self, hostname: str, limits: Limits, offer: Offer, *, lmtp: bool = False, tls: bool = False) -> None:
        self.hostname = hostname
        self.limits = limits
        self.offer = offer
        self.lmtp = lmtp
        self.tls = tls
        self.authenticated = False
        self._in = Input(max(limits.command_line, limits.auth_line))
        self._out: list[bytes] = []
        self._patience = Patience(limits)
        self._phase = START
        self._mode = LINES
        self._waiting: Event | None = None
        self._mail: Mail | None = None
        self._recipients = 0
        self._owed = 0  # replies to the content that are not given yet
        self._reader: DataReader | None = None
        self._ended = False  # the DATA is read to its end, the ContentEnd not given yet
        self._size = 0  # octets of the chunks before this one
        self._chunk = Chunk(0, False, True)
        self._chunk_left = 0
        self._refusal: Reply | None = None  # to be said when the octets of the refused BDAT are swallowed

    # For the session: what comes in, what goes out.

    def greet(self) -> None:
        """Queue the greeting."""
        self._out.append(replies.greeting(self.hostname, "LMTP" if self.lmtp else "ESMTP"))

    def receive(self, data: bytes) -> None:
        """Take what arrived. Ignored while TLS is being set up and after the end."""
        if data and self._mode < DEAF:
            self._in.receive(data)

    def output(self) -> bytes:
        """All that is to be written now."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def next_event(self) -> Event | None:
        """The next event; None when more bytes are needed, an answer is owed, or the connection is at its end."""
        while self._waiting is None:
            mode = self._mode
            if mode in _LINEWISE:
                line = self._in.line()
                if line is None:
                    return None
                event = self._command(line) if mode == LINES else self._response(line)
            elif mode == TEXT:
                event = self._text()
            elif mode == OCTETS:
                event = self._octets()
            elif mode == SWALLOW:
                event = self._swallowed()
            else:
                return None
            if event is not None:
                return event
            if self._mode == mode and mode != LINES:
                return None  # content: more octets are needed
        return None

    @property
    def waiting(self) -> Event | None:
        """The event that must be answered before anything else comes."""
        return self._waiting

    @property
    def closed(self) -> bool:
        """Write the output and close the transport."""
        return self._mode == CLOSED

    @property
    def mid_transaction(self) -> bool:
        """A sender was accepted, the message is not decided."""
        return self._phase & TRANSACTION != 0

    @property
    def receiving(self) -> bool:
        """Content is under way, for which RFC 5321 section 4.5.3.2.5 has a timeout of its own."""
        return self._mode in (TEXT, OCTETS, SWALLOW) or (self._phase == CHUNKS and self._waiting is None)

    @property
    def buffered(self) -> int:
        """Octets that wait to be read: pause the transport when they become many."""
        return len(self._in)

    @property
    def fault(self) -> str | None:
        """Why the message under way will be refused, when that is known: its content need not be kept."""
        return self._reader.fault if self._reader is not None else None

    def close(self, code: int, enhanced: str | None, text: str | Sequence[str]) -> None:
        """Say what answers no command (421 for a timeout or a shutdown) and end the conversation."""
        if self._mode != CLOSED:
            self._end(encode(code, enhanced, text))

    # Content.

    def _text(self) -> Event | None:
        """The next piece of a DATA, or its end."""
        reader = self._reader
        assert reader is not None
        while not self._ended:
            piece, self._in.at, self._ended = reader.read(self._in.data, self._in.at)
            if piece:
                return Content(piece)
            if not self._ended and not self._in.more():
                return None
        self._ended = False
        return self._finish(reader.size)

    def _octets(self) -> Event | None:
        """The next piece of a BDAT, or what follows its last octet."""
        if self._chunk_left:
            piece = self._in.take(self._chunk_left)
            self._chunk_left -= len(piece)
            return Content(piece) if piece else None
        self._size += self._chunk.size
        self._mode = LINES
        if self._chunk.last:
            return self._finish(self._size)
        self._out.append(_CHUNK_ACCEPTED)
        return None

    def _finish(self, size: int) -> Event:
        """The content is at its end: one reply is owed, in LMTP one a recipient (RFC 2033 section 4.2)."""
        event = ContentEnd(size, self.fault)
        self._mode = LINES
        self._owed = self._recipients if self.lmtp else 1
        if event.fault is None:
            self._waiting = event
        else:
            self._out.append(_FAULTS[event.fault] * self._owed)
            self._forget()
        return event

    def _swallowed(self) -> Event | None:
        """Swallow the octets of a refused BDAT, then refuse it."""
        while self._chunk_left:
            piece = self._in.take(self._chunk_left)
            self._chunk_left -= len(piece)
            if not piece:
                return None
        reply, self._refusal = self._refusal, None
        assert reply is not None
        self._mode = LINES
        open_ = self._phase & (RECIPIENTS | CHUNKS)
        refusals = self._recipients if self.lmtp and self._chunk.last and open_ else 1
        size = self._size + self._chunk.size
        if reply is replies.BDAT_SYNTAX:
            self._error(reply)
        elif reply is replies.BAD_SEQUENCE:
            self._out_of_sequence(RECIPIENTS | CHUNKS)
        else:
            self._out.append(encode(*reply) * refusals)
        if not open_:
            return None
        self._forget()  # octets of the message are lost: nothing but a new transaction can follow
        return ContentEnd(size, events.TOO_BIG) if reply is replies.TOO_BIG else Reset()

    def _response(self, line: bytes) -> Event | None:
        self._mode = LINES  # unless another challenge follows
        if line is TOO_LONG or len(line) > self.limits.auth_line:
            return self._error(replies.LINE_TOO_LONG)
        try:
            return self._wait(AuthResponse(parse_response(line)))
        except Refusal as refusal:
            return self._error(refusal.reply)

    @abstractmethod
    def _command(self, line: bytes) -> Event | None:
        """Act on a command line: an event, or None when the client has its answer already."""

    # For commands. What only says something gives None, "no event", so that a command can end with it.

    def _wait(self, event: Event) -> Event:
        self._waiting = event
        return event

    def _say(self, reply: Reply) -> Event | None:
        self._out.append(encode(*reply))
        return None

    def _error(self, reply: Reply) -> Event | None:
        return self._refuse(encode(*reply), self._patience.error())

    def _out_of_sequence(self, phases: int) -> Event | None:
        """What a pipelining client sent in the hope that its MAIL and RCPTs are accepted (RFC 2920 section 3.1) is no
        fault of its own when they were not."""
        if phases & TRANSACTION != phases:
            return self._error(replies.BAD_SEQUENCE)
        return self._refuse(encode(*replies.BAD_SEQUENCE), self._patience.refusal())

    def _refuse(self, said: bytes, parting: Reply | None) -> Event | None:
        """Say no, or goodbye when that was one too many."""
        if parting is not None:
            return self._end(encode(*parting))
        self._out.append(said)
        return None

    def _forget(self) -> None:
        """The transaction is over."""
        if self._phase != START:
            self._phase = READY
        self._mail = self._reader = None
        self._recipients = self._size = 0

    def _end(self, said: bytes) -> Event | None:
        """The conversation is over."""
        self._out.append(said)
        self._forget()
        self._mode = CLOSED
        self._waiting = None
        self._in.clear()
        return None
