"""The SMTP that `sendmail` speaks to the server of this machine, over its Unix socket: plain, blocking, small.

The content goes by BDAT (RFC 3030), so that nothing in it needs to be changed.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

PATIENCE = 300.0  # seconds for one reply (RFC 5321 section 4.5.3.2)
CONNECTING = 10.0  # seconds for each step up to its greeting: a server that hangs is as good as down
_MAX_LINE = 4096
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3}) +(.*)", re.S)
_TOO_MANY = "4.5.3"


class Answer(NamedTuple):
    """A reply; `enhanced` is "" where there is none (RFC 3463)."""

    code: int
    enhanced: str
    text: str

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.code), self.enhanced, self.text)))

    @property
    def good(self) -> bool:
        return self.code < 400

    @property
    def later(self) -> bool:
        return 400 <= self.code < 500


class Unreachable(Exception):
    """The server is not there, sends us away for now, or the conversation broke: nothing more can be sent to it."""


class NotAllowed(Exception):
    """The server will never take mail from this user; the text is its answer."""


class Refusal(NamedTuple):
    """What was said against a recipient, or with "" against the whole message."""

    recipient: str
    answer: Answer


class Sent(NamedTuple):
    """`refused` for good; `later` are recipients that the server does not take now."""

    refused: list[Refusal]
    later: list[str]


class Server:
    """A conversation with the server. Raises Unreachable, and in the beginning NotAllowed."""

    def __init__(self, path: str, name: str, say: Callable[[str], None] | None = None) -> None:
        """Connect and greet as `name`. `say` is told every line of the conversation."""
        self._say = say or (lambda line: None)
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(CONNECTING)
            self._socket.connect(path)
        except OSError as error:
            raise Unreachable(f"{path}: {(error.strerror or str(error)).lower()}") from error
        self._input: IO[bytes] = self._socket.makefile("rb")
        greeting = self._answer()
        if greeting.later:
            raise Unreachable(str(greeting))
        if not greeting.good:
            raise NotAllowed(str(greeting))
        self.hostname = greeting.text.split(" ", 1)[0] or "localhost"
        hello = self._ask(f"EHLO {name}")
        if not hello.good:
            raise Unreachable(str(hello))
        self._socket.settimeout(PATIENCE)

    def send(
        self,
        sender: str,
        recipients: Sequence[str],
        content: Callable[[], Iterator[bytes]],
        size: int,
        *,
        notify: str = "",
        ret: str = "",
        envid: str = "",
    ) -> Sent:
        """Give the message to the server, in several transactions when it has too many recipients for one."""
        utf8 = "" if (sender + "".join(recipients)).isascii() else " SMTPUTF8"
        mail = f"MAIL FROM:<{sender}> SIZE={size} BODY=8BITMIME{utf8}"
        if ret:
            mail += f" RET={ret}"
        if envid:
            from pillarbox.smtp.outgoing import encode_xtext  # not for every message that a script sends

            mail += f" ENVID={encode_xtext(envid)}"
        sent = Sent([], [])
        parameters = f" NOTIFY={notify}" if notify else ""
        waiting = list(recipients)
        while waiting:
            try:
                waiting = self._transaction(mail, waiting, parameters, content, size, sent)
            except Unreachable as error:
                self._say(f"*** {error}")
                known = {refusal.recipient for refusal in sent.refused} | set(sent.later)
                sent.later.extend(recipient for recipient in waiting if recipient not in known)
                break
        return sent

    def quit(self) -> None:
        try:
            self._ask("QUIT")
        except Unreachable:
            return
        finally:
            self._socket.close()

    def _transaction(
        self,
        mail: str,
        recipients: list[str],
        parameters: str,
        content: Callable[[], Iterator[bytes]],
        size: int,
        sent: Sent,
    ) -> list[str]:
        """One transaction; the recipients that are for another one."""
        begun = self._ask(mail)
        if not begun.good:
            return self._put_down("", begun, recipients, sent)
        taken: list[str] = []
        left: list[str] = []
        for at, recipient in enumerate(recipients):
            answer = self._ask(f"RCPT TO:<{recipient}>{parameters}")
            if answer.good:
                taken.append(recipient)
            elif answer.enhanced == _TOO_MANY and taken:
                left = recipients[at:]
                break
            else:
                self._put_down(recipient, answer, [recipient], sent)
        if not taken:
            self._ask("RSET")
            return left
        self._write(f"BDAT {size} LAST")
        for piece in content():
            self._push(piece)
        answer = self._answer()
        if not answer.good:
            return self._put_down("", answer, taken + left, sent)
        return left

    @staticmethod
    def _put_down(recipient: str, answer: Answer, concerned: list[str], sent: Sent) -> list[str]:
        """What is refused now is for later, what is refused for good is known to be."""
        if answer.later:
            sent.later.extend(concerned)
        else:
            sent.refused.append(Refusal(recipient, answer))
        return []

    def _ask(self, command: str) -> Answer:
        self._write(command)
        return self._answer()

    def _write(self, command: str) -> None:
        self._say(f">>> {command}")
        self._push(command.encode("utf-8", "surrogateescape") + b"\r\n")

    def _push(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Unreachable(f"the connection to the server broke: {error}") from error

    def _answer(self) -> Answer:
        lines: list[str] = []
        while True:
            try:
                line = self._input.readline(_MAX_LINE)
            except OSError as error:
                raise Unreachable(f"the server does not answer: {error}") from error
            if not line.endswith(b"\n") or not line[:3].isdigit():
                raise Unreachable("the server ended the conversation" if not line else f"it said {line[:80]!r}")
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self._say(f"<<< {text}")
            lines.append(text[4:])
            if text[3:4] != "-":
                break
        code = int(text[:3])
        if code == 421:
            raise Unreachable(text)
        found = _ENHANCED.fullmatch(lines[-1])
        return Answer(code, found[1], found[2]) if found else Answer(code, "", lines[0])
