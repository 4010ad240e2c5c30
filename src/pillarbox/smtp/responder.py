"""What the session's answers do to a conversation: the transaction goes on or is dropped, other octets come next."""

import binascii
from collections.abc import Sequence

from pillarbox.smtp import replies
from pillarbox.smtp.content import DataReader
from pillarbox.smtp.conversation import (
    CHUNKS,
    CLOSED,
    DEAF,
    LINES,
    OCTETS,
    READY,
    RECIPIENTS,
    SASL,
    SENDER,
    START,
    SWALLOW,
    TEXT,
    Conversation,
)
from pillarbox.smtp.events import Auth, AuthResponse, ContentEnd, Data, Event, Hello, Mail, Rcpt, StartTls
from pillarbox.smtp.hello import hello_reply
from pillarbox.smtp.replies import Reply, encode

_SENDER_OK = encode(*replies.SENDER_OK)
_RECIPIENT_OK = encode(*replies.RECIPIENT_OK)
_START_CONTENT = encode(*replies.START_CONTENT)
_ACCEPTED = encode(*replies.ACCEPTED)
_USUAL: dict[type, Reply] = {
    Hello: Reply(250, None, ""),
    Data: replies.START_CONTENT,
    Auth: replies.AUTHENTICATED,
    AuthResponse: replies.AUTHENTICATED,
    StartTls: replies.START_TLS,
}


class Responder(Conversation):
    """A conversation whose events can be answered."""

    __slots__ = ()

    def accept(self) -> None:
        """Answer the waiting event with its usual success."""
        event = self._waiting
        if isinstance(event, Rcpt):
            self._waiting = None
            self._recipient(_RECIPIENT_OK)
        elif isinstance(event, Mail):
            self._waiting = None
            self._sender(event, _SENDER_OK)
        elif isinstance(event, ContentEnd):
            self._settle(_ACCEPTED, success=True)
        elif event is not None:
            self.reply(*_USUAL[type(event)])
        elif self._mode != CLOSED:
            raise RuntimeError("no event waits to be accepted")

    def reply(self, code: int, enhanced: str | None, text: str | Sequence[str]) -> None:
        """Answer the waiting event. Only a success code has an effect; 421 closes the connection.

        A success for a Hello says the extensions whatever `text` is; one for a Data says 354 (or nothing, for BDAT).
        Raises RuntimeError when no event waits or the code does not fit: faults of the session. A closed core takes
        every answer and does nothing.
        """
        if self._mode == CLOSED:
            return  # closed while the session was busy with it: nobody listens
        event = self._waiting
        success = 200 <= code < 300 or (code == 354 and isinstance(event, Data))
        if event is None or not (success or 400 <= code < 600):
            raise RuntimeError(f"{code} {text!r} does not answer {event!r}")
        said = encode(code, enhanced, text)
        if code == 421:
            self._end(said)
        elif isinstance(event, ContentEnd):
            self._settle(said, success=success)
        elif success:
            self._waiting = None
            self._succeed(event, said)
        else:
            self._waiting = None
            self._fail(event, Reply(code, enhanced, text), said)

    def challenge(self, data: bytes) -> None:
        """Answer an Auth or AuthResponse with 334; the client's answer comes as an AuthResponse."""
        if self._mode == CLOSED:
            return
        if not isinstance(self._waiting, Auth | AuthResponse):
            raise RuntimeError("no AUTH waits for a challenge")
        self._waiting = None
        self._mode = SASL
        self._out.append(b"334 " + binascii.b2a_base64(data, newline=False) + b"\r\n")

    def tls_started(self) -> None:
        """TLS is up: the client greets again (RFC 3207 section 4.2)."""
        self.tls = True
        self.authenticated = False
        self._phase = START
        self._mode = LINES

    # Inside.

    def _succeed(self, event: Event, said: bytes) -> None:
        match event:
            case Hello():
                self._forget()
                self._phase = READY
                if event.esmtp:
                    said = hello_reply(self.hostname, self.limits, self.offer, self.tls)
                else:
                    said = encode(250, None, self.hostname)
                self._out.append(said)
            case Mail():
                self._sender(event, said)
            case Rcpt():
                self._recipient(said)
            case Data(chunked=True):
                self._phase, self._mode = CHUNKS, OCTETS
            case Data():
                self._out.append(_START_CONTENT)
                self._mode = TEXT
                self._reader = DataReader(self.limits.message_size, self.limits.data_line)
                self._in.push_back(b"\r\n")  # of the DATA line: a dot now is at the beginning of a line
            case StartTls():
                self._out.append(said)
                self._in.clear()  # nothing said in the clear is heard after it
                self._forget()
                self._mode = DEAF
            case _:
                self.authenticated = True
                self._out.append(said)

    def _fail(self, event: Event, reply: Reply, said: bytes) -> None:
        match event:
            case Data(chunked=True):
                self._mode, self._refusal = SWALLOW, reply
            case Auth() | AuthResponse():
                self._refuse(said, self._patience.error())
            case _:
                if isinstance(event, Data):
                    self._forget()
                self._refuse(said, self._patience.refusal())

    def _sender(self, event: Mail, said: bytes) -> None:
        self._mail = event
        self._phase = SENDER
        self._out.append(said)

    def _recipient(self, said: bytes) -> None:
        self._recipients += 1
        self._phase = RECIPIENTS
        self._out.append(said)

    def _settle(self, said: bytes, *, success: bool) -> None:
        self._out.append(said)
        self._owed -= 1
        if success:
            self._patience.renew()
        if not self._owed:
            self._waiting = None
            self._forget()
