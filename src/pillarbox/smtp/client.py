"""SMTP and LMTP client core: the other end of `core`, bytes in, events out, no I/O and no clock.

    client.receive(data)                        # the greeting
    while (event := client.next_event()):
        ...                                     # Connected -> hello(); Introduced -> starttls(), auth() or send()
    transport.write(client.output())

`send` starts a transaction, with everything that can be pipelined in one group (RFC 2920). `ContentWanted` asks for
the message by `content` and `end_content`; `Done` tells what became of each recipient. Nothing that a server says
raises; what is no SMTP ends in `Failed` and a closed core.
"""

import binascii
from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from pillarbox.smtp.answer import MAX_LINE, MAX_LINES, Answer, AnswerError, parse_line
from pillarbox.smtp.input import TOO_LONG, Input
from pillarbox.smtp.outgoing import ChunkWriter, DataWriter, Recipient, Sender, mail_line, rcpt_line, takes_binary


class Connected(Struct, frozen=True):
    """The server greeted: say `hello`."""

    answer: Answer


class Introduced(Struct, frozen=True):
    """EHLO, LHLO or (when a server knows no EHLO) HELO was accepted; `extensions` has the keywords in upper case."""

    extensions: dict[str, str]


class UpgradeTls(Struct, frozen=True):
    """The server is ready for TLS: upgrade the transport, call `tls_started`, say `hello` again."""


class Challenge(Struct, frozen=True):
    """The server's part of an AUTH exchange: `respond` to it."""

    data: bytes


class Authenticated(Struct, frozen=True):
    answer: Answer


class ContentWanted(Struct, frozen=True):
    """Give the message by `content` and `end_content`. At least one recipient was accepted."""


class Done(Struct, frozen=True):
    """The end of a transaction: the answer that decided about each recipient, in the order they were given."""

    answers: tuple[Answer, ...]


class Failed(Struct, frozen=True):
    """What was asked is refused: `stage` is CONNECT, HELLO, STARTTLS, AUTH, or PROTOCOL when the server spoke no SMTP
    (then, and after a 421, the core is closed)."""

    stage: str
    answer: Answer


Event = Connected | Introduced | UpgradeTls | Challenge | Authenticated | ContentWanted | Done | Failed

_DATA = b"DATA\r\n"
_IGNORED = "-"  # expected, but nobody waits for it


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
        self._answers: list[Answer | None] = []  # a recipient's decision
        self._accepted: list[int] = []  # recipients whose RCPT was accepted
        self._asked = 0  # RCPTs answered
        self._writer: DataWriter | ChunkWriter | None = None
        self._sender_refused: Answer | None = None

    # In and out.

    def receive(self, data: bytes) -> None:
        """Take what arrived; ignored while TLS is being set up and after the end."""
        if data and not self._deaf and not self.closed:
            self._in.receive(data)

    def output(self) -> bytes:
        """All that is to be written now."""
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

    def send(self, sender: Sender, recipients: Sequence[Recipient]) -> None:
        """Begin a transaction. BODY=BINARYMIME goes by BDAT, all else by DATA.

        Parameters that the server does not offer are left out (SIZE, BODY, RET ...); whether the message can go without
        SMTPUTF8, 8BITMIME or BINARYMIME is for the caller to know from `extensions`. Raises ValueError for what is no
        address."""
        lines = [mail_line(sender, self.extensions)]
        lines += [rcpt_line(recipient, self.extensions) for recipient in recipients]
        self._expected += ["MAIL", *["RCPT"] * len(recipients)]
        if sender.body == "BINARYMIME" and takes_binary(self.extensions):
            self._writer = ChunkWriter()
        else:
            self._writer = DataWriter()
            self._expected.append("DATA")
            lines.append(_DATA)
        self._answers = [None] * len(recipients)
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
        self._say(_IGNORED, b"RSET\r\n")

    def quit(self) -> None:
        """Say QUIT; the core is closed when it is answered."""
        self._say("QUIT", b"QUIT\r\n")

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
            text, more = parse_line(line)
            if self._lines and text[:3] != self._lines[0][:3]:
                raise AnswerError("the server changed its answer between lines")
            self._lines.append(text)
            if more:
                return
            answer = Answer.of(self._lines)
            if not self._expected and answer.code != 421:  # which may come at any time, RFC 5321 section 3.8
                raise AnswerError("the server says more than it was asked")
        except AnswerError as error:
            self._fail("PROTOCOL", Answer(500, "5.5.0", (f"{error}",)))
            return
        self._lines = []
        self._answered(self._expected.popleft() if self._expected else "CLOSED", answer)

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
            case _:
                pass  # nobody waits for it

    def _introduced(self, stage: str, answer: Answer) -> None:
        if answer.ok:
            words = [line.split(None, 1) for line in answer.lines[1:] if line.strip()] if stage != "HELO" else []
            self.extensions = {word[0].upper(): word[1].strip() if len(word) > 1 else "" for word in words}
            self._events.append(Introduced(self.extensions))
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
            if not answer.ok and self._answers:
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
            self._decide(self._sender_refused)
        else:
            self.reset()
        self._finish()

    def _chunk_refused(self, answer: Answer) -> None:
        """So is the message, whatever else of it is on its way (RFC 3030 section 2)."""
        self._writer = None
        self._decide(answer)
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
            self._answers[number] = self._sender_refused  # the 503 of a pipelined RCPT says less
        elif answer.ok:
            self._accepted.append(number)
        else:
            self._answers[number] = answer

    def _data_answered(self, answer: Answer) -> None:
        if answer.code == 354 and self._accepted:
            self._events.append(ContentWanted())
        elif answer.code == 354:  # RFC 2920 section 3.1: a server may say so with no recipient at all
            self._writer = None
            self._say(_IGNORED, b".\r\n")
            self._finish()
        else:
            self._writer = None
            self._decide(answer)
            self._finish()

    def _content_answered(self, answer: Answer) -> None:
        if not self.lmtp:
            self._decide(answer)
            self._finish()
        elif self._accepted:
            self._answers[self._accepted.pop(0)] = answer
            if not self._accepted:
                self._finish()

    def _decide(self, answer: Answer) -> None:
        """The answer for all recipients that have none yet."""
        self._answers = [known or answer for known in self._answers]

    def _finish(self) -> None:
        answers = tuple(answer for answer in self._answers if answer is not None)
        self._answers, self._accepted = [], []
        if answers:
            self._events.append(Done(answers))

    def _lost(self, answer: Answer, stage: str) -> None:
        """421 at any point: what is undecided is decided by it."""
        if self._answers:
            self._decide(answer)
            self._finish()
            self.closed = True
        else:
            self._fail(stage, answer)

    def _fail(self, stage: str, answer: Answer) -> None:
        self.closed = True
        if self._answers:
            self._decide(Answer(451, "4.4.2", answer.lines))
            self._finish()
        self._events.append(Failed(stage, answer))
