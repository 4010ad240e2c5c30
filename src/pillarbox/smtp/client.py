"""SMTP and LMTP client core: the other end of `core`, bytes in, events out, no I/O and no clock.

    client.receive(data)                        # the greeting
    while (event := client.next_event()):
        ...                                     # Connected -> hello(); Introduced -> starttls(), auth() or send()
    transport.write(client.output())

`send` starts a transaction, with everything that can be pipelined in one group (RFC 2920). `ContentWanted` asks for
the message by `content` and `end_content`; `Done` tells what became of each recipient. A failed transaction is followed
by a RSET: while an answer is `awaiting` there is no next `send`. Nothing that a server says raises; what is no SMTP
ends in `Failed` and a closed core. When the connection ends, or its time, `give_up` decides what is undecided.
"""

import binascii
from collections import deque
from collections.abc import Sequence

from pillarbox.smtp.answer import MAX_LINE, MAX_LINES, Answer, AnswerError, lone_answer, parse_line
from pillarbox.smtp.client_events import (
    Authenticated,
    Challenge,
    Connected,
    ContentWanted,
    Done,
    Event,
    Failed,
    Introduced,
    UpgradeTls,
)
from pillarbox.smtp.input import TOO_LONG, Input
from pillarbox.smtp.outgoing import ChunkWriter, DataWriter, extensions_of

_DATA = b"DATA\r\n"
_DOT = "DOT"  # the end of an empty content for nobody: whatever the answer is
_STAGES = {"BDAT": "DATA", "EHLO": "HELLO", "LHLO": "HELLO", "HELO": "HELLO"}  # as events call them
_GOOD = {"CONNECT": (220,), "STARTTLS": (220,), "AUTH": (235, 250, 334), "DATA": (354,)}  # others: 2xx


class ClientCore:
    """One conversation with one server. Not thread-safe."""

    def __init__(self, name: str, *, lmtp: bool = False) -> None:
        """`name` is what we call ourselves in EHLO."""
        self.name = name
        self.lmtp = lmtp
        self.closed = False
        self.extensions: dict[str, str] = {}
        self._in = Input(MAX_LINE)
        self._out: list[bytes] = []
        self._lines: list[str] = []  # of the answer that is not complete
        self._events: deque[Event] = deque()
        self._expected: deque[str] = deque(["CONNECT"])  # what the next answers are to, in order
        self._deaf = False
        self._waiting: list[bytes] = []  # commands of the transaction that are not pipelined
        self.answered = 0  # complete answers: who waits sees that the server goes on
        self._decisions: list[tuple[str, Answer] | None] = []  # by recipient: what the answer was to, and the answer
        self._accepted: list[int] = []  # recipients whose RCPT was accepted
        self._asked = 0  # RCPTs answered
        self._writer: DataWriter | ChunkWriter | None = None
        self._sender_refused: Answer | None = None

    @property
    def awaiting(self) -> str:
        """The command whose answer comes next; CONNECT, END for the content, "" when none is owed."""
        return self._expected[0] if self._expected else ""

    # In and out.

    def receive(self, data: bytes) -> None:
        """Take what arrived; ignored while TLS is being set up and after the end."""
        if data and not self._deaf and not self.closed:
            self._in.receive(data)

    def output(self) -> bytes:
        """All that is to be written now."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def next_event(self) -> Event | None:
        """The next event; None when more bytes are needed."""
        while not self._events and not self.closed:
            line = self._in.line()
            if line is None:
                return None
            self._line(line)
        return self._events.popleft() if self._events else None

    # What the session asks for.

    def hello(self) -> None:
        verb = "LHLO" if self.lmtp else "EHLO"
        self._say(verb, f"{verb} {self.name}\r\n".encode())

    def starttls(self) -> None:
        self._say("STARTTLS", b"STARTTLS\r\n")

    def tls_started(self) -> None:
        """TLS is up; the extensions are to be asked for again (RFC 3207 section 4.2)."""
        self._deaf = False
        self.extensions = {}

    def auth(self, mechanism: str, initial: bytes | None = None) -> None:
        """Begin an exchange; with an initial response, empty or not, when the mechanism has one."""
        line = f"AUTH {mechanism}".encode()
        if initial is not None:
            line += b" " + (binascii.b2a_base64(initial, newline=False) or b"=")
        self._say("AUTH", line + b"\r\n")

    def respond(self, data: bytes | None) -> None:
        """Answer a Challenge; None cancels the exchange."""
        line = b"*" if data is None else binascii.b2a_base64(data, newline=False)
        self._say("AUTH", line + b"\r\n")

    def send(self, mail: bytes, recipients: Sequence[bytes], *, chunked: bool = False) -> None:
        """Begin a transaction by the lines that `outgoing.mail_line` and `rcpt_line` give, the content by DATA or, when
        it is `chunked`, by BDAT. Nothing may be `awaiting`."""
        self._expected += ["MAIL", *["RCPT"] * len(recipients)]
        lines = [mail, *recipients]
        if chunked:
            self._writer = ChunkWriter()
        else:
            self._writer = DataWriter()
            self._expected.append("DATA")
            lines.append(_DATA)
        self._decisions = [None] * len(recipients)
        self._accepted = []
        self._asked = 0
        self._sender_refused = None
        if "PIPELINING" in self.extensions:
            self._out += lines
        else:
            self._out.append(lines[0])
            self._waiting = lines[:0:-1]  # the next one last

    def content(self, data: bytes) -> None:
        """A piece of the message; cut anywhere. Dots are stuffed; by DATA a bare CR or LF becomes CRLF, because nobody
        may send one (RFC 5321 section 2.3.8) and some servers still take it for a line end."""
        if self._writer is not None and data:
            self._out.append(self._writer.piece(data))
            if isinstance(self._writer, ChunkWriter):
                self._expected.append("BDAT")

    def end_content(self) -> None:
        """The message is complete."""
        if self._writer is not None:
            self._out.append(self._writer.end())
            self._expect_content_end()

    def reset(self) -> None:
        """RSET; a server that refuses it cannot be used any more: the core is closed."""
        self._say("RSET", b"RSET\r\n")

    def quit(self) -> None:
        """Say QUIT; the core is closed when it is answered."""
        self._say("QUIT", b"QUIT\r\n")

    def give_up(self, stage: str, answer: Answer) -> None:
        """The connection has ended, or nobody waits any longer: this decides what a transaction has left undecided."""
        if not self.closed:
            self.closed = True
            self._decide(stage, answer)
            self._finish()

    def _say(self, stage: str, line: bytes) -> None:
        self._expected.append(stage)
        self._out.append(line)

    def _expect_content_end(self) -> None:
        """One answer, in LMTP one for every accepted recipient (RFC 2033 section 4.2)."""
        self._writer = None
        self._expected += ["END"] * (len(self._accepted) if self.lmtp else 1)

    # What the server says.

    def _line(self, line: bytes) -> None:
        try:
            if line is TOO_LONG or len(self._lines) >= MAX_LINES:
                raise AnswerError("the answer of the server is too long")
            answer = lone_answer(line) if not self._lines else None
            if answer is None:
                text, more = parse_line(line)
                if self._lines and text[:3] != self._lines[0][:3]:
                    raise AnswerError("the server changed its answer between lines")
                self._lines.append(text)
                if more:
                    return
                answer = Answer.of(self._lines)
                self._lines = []
            self._check(answer)
        except AnswerError as error:
            self._fail("PROTOCOL", Answer(451, "4.5.0", (f"{error}",)))
            return
        self.answered += 1
        if not self._expected and self._writer is not None:
            self.give_up("END", answer)  # it has refused what it has not read to the end
        else:
            self._answered(self._expected.popleft() if self._expected else "CLOSED", answer)

    def _check(self, answer: Answer) -> None:
        """Raises AnswerError for an answer that fits nothing."""
        if not self._expected:  # a 421 may come at any time, RFC 5321 section 3.8
            if answer.code != 421 and (self._writer is None or answer.code < 400):
                raise AnswerError(f"the server says {answer.code} and was not asked")
        elif answer.code < 400:
            stage = self._expected[0]
            good = _GOOD.get(stage)
            if (answer.code not in good if good is not None else not answer.ok) and stage not in (_DOT, "QUIT"):
                raise AnswerError(f"{answer.code} is no answer to {stage}")

    def _answered(self, stage: str, answer: Answer) -> None:
        if answer.code == 421 and stage != "QUIT":
            self._lost(answer, stage)
            return
        match stage:
            case "CONNECT" if answer.ok:
                self._events.append(Connected(answer))
            case "EHLO" | "LHLO" | "HELO":
                self._introduced(stage, answer)
            case "STARTTLS" if answer.code == 220:
                self._in.clear()  # what came before TLS is not the server's (CVE-2011-0411)
                self._deaf = True
                self._events.append(UpgradeTls())
            case "AUTH" if answer.code == 334:
                self._challenged(answer)
            case "AUTH" if answer.ok:
                self._events.append(Authenticated(answer))
            case "MAIL" | "RCPT" | "DATA" | "BDAT" | "END":
                self._step(stage, answer)
            case "QUIT":
                self.closed = True
            case "CONNECT" | "STARTTLS" | "AUTH":
                self._events.append(Failed(stage, answer))
            case "RSET":
                self.closed = not answer.ok
            case _:
                pass  # _DOT: nobody waits for it

    def _introduced(self, stage: str, answer: Answer) -> None:
        if answer.ok:
            self.extensions = extensions_of(answer.lines[1:]) if stage != "HELO" else {}
            self._events.append(Introduced(self.extensions, answer.lines[0].partition(" ")[0]))
        elif stage == "EHLO" and answer.code // 100 == 5:
            self._say("HELO", f"HELO {self.name}\r\n".encode())  # RFC 5321 section 3.2
        else:
            self._events.append(Failed("HELLO", answer))

    def _challenged(self, answer: Answer) -> None:
        try:
            data = binascii.a2b_base64(answer.lines[0].encode(), strict_mode=True)
        except (binascii.Error, UnicodeEncodeError):
            self.respond(None)
            return
        self._events.append(Challenge(data))

    def _step(self, stage: str, answer: Answer) -> None:
        """An answer within a transaction."""
        if stage == "END":
            self._content_answered(answer)
        elif stage == "DATA":
            self._data_answered(answer)
        elif stage == "BDAT":
            if not answer.ok and self._decisions:
                self._chunk_refused(answer)
        else:
            if stage == "RCPT":
                self._recipient_answered(answer)
            elif not answer.ok:
                self._sender_refused = answer
            self._go_on()

    def _go_on(self) -> None:
        """After the answer to a MAIL or RCPT: the next command, or the content."""
        if self._waiting and (self._sender_refused is not None or (self._waiting == [_DATA] and not self._accepted)):
            self._waiting = []
            while self._expected and self._expected[0] in ("RCPT", "DATA"):
                self._expected.popleft()
            self._nobody()
        elif self._waiting:
            self._out.append(self._waiting.pop())
        elif isinstance(self._writer, ChunkWriter) and "RCPT" not in self._expected:
            if self._accepted:
                self._events.append(ContentWanted())
            else:
                self._nobody()

    def _nobody(self) -> None:
        """No recipient was accepted."""
        self._writer = None
        if self._sender_refused is not None:
            self._decide("MAIL", self._sender_refused)
        else:
            self.reset()
        self._finish()

    def _chunk_refused(self, answer: Answer) -> None:
        """So is the message, whatever else of it is on its way (RFC 3030 section 2)."""
        self._writer = None
        self._decide("DATA", answer)
        if self.lmtp and "END" in self._expected:
            self.closed = True  # how many answers come now is not defined
        else:
            self.reset()
        self._accepted = []
        self._finish()

    def _recipient_answered(self, answer: Answer) -> None:
        number = self._asked
        self._asked += 1
        if self._sender_refused is not None:
            self._decisions[number] = "MAIL", self._sender_refused  # the 503 of a pipelined RCPT says less
        elif answer.ok:
            self._accepted.append(number)
        else:
            self._decisions[number] = "RCPT", answer

    def _data_answered(self, answer: Answer) -> None:
        if answer.code == 354 and self._accepted:
            self._events.append(ContentWanted())
        elif answer.code == 354:  # RFC 2920 section 3.1: a server may say so with no recipient at all
            self._writer = None
            self._say(_DOT, b".\r\n")
            self._finish()
        else:
            self._writer = None
            self._decide("DATA", answer)
            if self._sender_refused is None:
                self.reset()  # for the server the transaction may still be open
            self._finish()

    def _content_answered(self, answer: Answer) -> None:
        if not self.lmtp:
            self._decide("END", answer)
            self._finish()
        elif self._accepted:
            self._decisions[self._accepted.pop(0)] = "END", answer
            if not self._accepted:
                self._finish()

    def _decide(self, stage: str, answer: Answer) -> None:
        """The answer for all recipients that have none yet."""
        self._decisions = [known or (stage, answer) for known in self._decisions]

    def _finish(self) -> None:
        decisions = [decision for decision in self._decisions if decision is not None]
        self._decisions, self._accepted, self._writer = [], [], None
        if decisions:
            self._events.append(Done(tuple(item[1] for item in decisions), tuple(item[0] for item in decisions)))

    def _lost(self, answer: Answer, stage: str) -> None:
        """421 at any point: what is undecided is decided by it."""
        if self._decisions:
            self.give_up(_STAGES.get(stage, stage), answer)
        else:
            self._fail(_STAGES.get(stage, stage), answer)

    def _fail(self, stage: str, answer: Answer) -> None:
        self.give_up(stage, answer)
        self._events.append(Failed(stage, answer))
