"""A blocking IMAP client over TLS that costs as little as a client in Python can, and the messages it is given.

Times are taken around a whole command: from its first octet sent to the last octet of its tagged answer read.
"""

from __future__ import annotations

import base64
import random
import re
import socket
import ssl
import time
from collections.abc import Iterator, Sequence

RARE = [f"quill{name}wort" for name in ("ab", "cd", "ef", "gh", "ij", "kl", "mn", "op", "qr", "st")]
RARE_EVERY = 300  # each of these words is in the text of one of so many messages, and in as many subjects


class Refused(Exception):
    """A tagged NO or BAD."""


class Wire:
    """One connection. `context` None: without TLS."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), 120)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = plain if context is None else context.wrap_socket(plain, server_hostname="localhost")
        self._count = 0
        self._until(re.compile(rb"\A\* OK[^\r]*\r\n"))

    def login(self, username: str, password: str) -> Wire:
        self.do(f"LOGIN {username} {password}")
        return self

    def do(self, command: str | bytes, *, keep: bool = True) -> bytes:
        """The whole answer with the tagged line. Without `keep` only the last octets of it. Raises Refused."""
        return self.timed(command, keep=keep)[1]

    def timed(self, command: str | bytes, *, keep: bool = True) -> tuple[float, bytes, int]:
        """Seconds, the answer, and its octets. Raises Refused."""
        line = command.encode() if isinstance(command, str) else command
        tag = self._tag()
        begin = time.perf_counter()
        self.socket.sendall(tag + b" " + line + b"\r\n")
        answer, octets = self._answer(tag, keep=keep)
        return time.perf_counter() - begin, _good(answer, tag, line), octets

    def append(self, mailbox: str, messages: Sequence[bytes]) -> float:
        """One APPEND (RFC 3502 when they are several), with synchronizing literals; seconds."""
        tag = self._tag()
        begin = time.perf_counter()
        line = tag + b" APPEND " + mailbox.encode()
        for message in messages:
            self.socket.sendall(line + b" {%d}\r\n" % len(message))
            self._until(re.compile(rb"\A\+[^\r]*\r\n"))
            line = message
        self.socket.sendall(line + b"\r\n")
        answer, _ = self._answer(tag, keep=True)
        seconds = time.perf_counter() - begin
        _good(answer, tag, b"APPEND")
        return seconds

    def idle(self) -> None:
        """Enter IDLE; it stays there until `exists` has read what was waited for and `done` ends it."""
        self._idle = self._tag()
        self.socket.sendall(self._idle + b" IDLE\r\n")
        self._until(re.compile(rb"^\+[^\r]*\r\n", re.M))

    def exists(self) -> float:
        """Wait for EXISTS; the moment it was read."""
        self._until(re.compile(rb"^\* \d+ EXISTS\r\n", re.M))
        return time.perf_counter()

    def done(self) -> None:
        self.socket.sendall(b"DONE\r\n")
        self._answer(self._idle, keep=True)

    def close(self) -> None:
        self.socket.close()

    def _tag(self) -> bytes:
        self._count += 1
        return b"zq%dx" % self._count

    def _answer(self, tag: bytes, *, keep: bool) -> tuple[bytes, int]:
        """Octets up to the tagged line. The tag is in no message, so literals need no parsing."""
        begins = tag + b" "
        kept, octets, last = list[bytes](), 0, b""
        while True:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # else some servers' Nagle costs 40 ms
            data = self.socket.recv(1 << 20)
            if not data:
                raise OSError(f"the server closed the connection after {last!r}")
            octets += len(data)
            last = (last + data)[-4096:]
            if keep:
                kept.append(data)
            if last.endswith(b"\r\n") and last.startswith(begins, last.rfind(b"\n", 0, -1) + 1):
                return b"".join(kept) if keep else last, octets

    def _until(self, wanted: re.Pattern[bytes]) -> None:
        seen = b""
        while not wanted.search(seen):
            data = self.socket.recv(1 << 16)
            if not data:
                raise OSError(f"the server closed the connection after {seen!r}")
            seen += data


def _good(answer: bytes, tag: bytes, line: bytes) -> bytes:
    last = answer[answer.rindex(tag + b" ") :]
    if not last.startswith(tag + b" OK"):
        raise Refused(f"{line[:80]!r}: {last.decode(errors='replace').strip()}")
    return answer


class Lmtp:
    """Hands messages over to one recipient after the other."""

    def __init__(self, port: int) -> None:
        self._file = socket.create_connection(("127.0.0.1", port), 60).makefile("rwb")
        self._reply(b"2")
        self._say(b"LHLO bench.test", b"2")

    def deliver(self, recipient: str, message: bytes) -> float:
        """The moment the 250 was read."""
        self._say(b"MAIL FROM:<bench@sender.test>", b"2")
        self._say(b"RCPT TO:<" + recipient.encode() + b">", b"2")
        self._say(b"DATA", b"3")
        self._say(message + b".", b"2")
        return time.perf_counter()

    def close(self) -> None:
        self._say(b"QUIT", b"2")
        self._file.close()

    def _say(self, line: bytes, wanted: bytes) -> None:
        self._file.write(line + b"\r\n")
        self._file.flush()
        self._reply(wanted)

    def _reply(self, wanted: bytes) -> None:
        while (line := self._file.readline())[3:4] == b"-":
            pass
        if not line.startswith(wanted):
            raise Refused(line.decode(errors="replace"))


def corpus(count: int, octets: int = 29_000) -> Iterator[bytes]:
    """The same `count` messages every time, of `octets` on average: text and HTML, every third with an attachment."""
    choice = random.Random(9051)
    words = ["".join(choice.choices("abcdefghijklmnopqrstuvwxyz", k=choice.randint(2, 10))) for _ in range(5000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    attachment = base64.encodebytes(choice.randbytes(1 << 20)).replace(b"\n", b"\r\n")
    line = 78  # octets of a line of the attachment

    def text(size: int) -> str:
        picked = choice.choices(words, weights, k=size // 5)
        return "\r\n".join(" ".join(picked[at : at + 12]) for at in range(0, len(picked), 12))

    for number in range(count):
        rare = RARE[number % RARE_EVERY] if number % RARE_EVERY < len(RARE) else ""
        subject = " ".join([*choice.choices(words, weights, k=6), rare]).strip()
        body = text(min(octets // 8, 6000)) + ("\r\n" + rare if rare else "")
        reply = f"In-Reply-To: <{number - 1}@bench.test>\r\nReferences: <{number - 1}@bench.test>\r\n" * (
            number % 4 == 1
        )
        head = (
            f"From: Sender {number % 97} <sender{number % 97}@example.org>\r\nTo: User <u@bench.test>, "
            f"Other <other{number % 13}@example.org>\r\nSubject: {subject}\r\n"
            f"Date: Mon, {number % 28 + 1} Feb 2022 {number % 24:02}:52:25 +0000\r\n"
            f"Message-ID: <{number}@bench.test>\r\n{reply}MIME-Version: 1.0\r\n"
        )
        if octets < 4000:
            yield f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n".encode()
            continue
        html = "<html><body><p>" + body.replace("\r\n", "</p>\r\n<p>") + "</p></body></html>"
        parts = (
            f'{head}Content-Type: multipart/mixed; boundary="mixed"\r\n\r\n--mixed\r\n'
            'Content-Type: multipart/alternative; boundary="alternative"\r\n\r\n'
            f"--alternative\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n"
            f"--alternative\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n--alternative--\r\n"
        ).encode()
        if number % 3 == 0:
            size = 3 * (octets - len(parts)) * choice.uniform(0.5, 1.5)
            lines = min(int(size) // line, len(attachment) // line)
            parts += (
                b'--mixed\r\nContent-Type: application/pdf; name="report.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
                b'Content-Disposition: attachment; filename="report.pdf"\r\n\r\n' + attachment[: lines * line]
            )
        yield parts + b"--mixed--\r\n"
