"""Submission clients that cost little, so that the rate is the server's: many connections in one thread, over epoll.

Each does what a mail program does: EHLO, STARTTLS and AUTH PLAIN where they are announced, MAIL, RCPT and DATA in one
group (RFC 2920), the content, QUIT. It waits for every reply that decides what comes next, and looks at every code. A
TLS handshake is a whole one: no session is resumed. The octets are made before the clock starts. Of what is left nearly
all is the kernel's sockets and OpenSSL's handshake, which a client in C pays as well.
"""

from __future__ import annotations

import base64
import errno
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

_CHUNK = 16384


@dataclass(frozen=True)
class Step:
    """What to say, the codes of the replies to wait for after it, and what these must announce."""

    said: bytes
    codes: tuple[bytes, ...]
    announced: tuple[bytes, ...] = ()


HANDSHAKE = Step(b"", ())
_GREETING = Step(b"", (b"220",))


def conversation(
    login: tuple[str, str] | None, sender: str, recipient: str, content: bytes, messages: int, tls: str = ""
) -> list[Step]:
    """One connection that submits `content` (with its final dot) so many times.

    `tls`: "implicit" (from the first octet), "starttls", or "" for none.
    """
    steps = [HANDSHAKE, _GREETING] if tls == "implicit" else [_GREETING]
    hello, pipelining = b"EHLO bench.test\r\n", b"PIPELINING\r\n"
    if tls == "starttls":
        steps += [Step(hello, (b"250",), (b"STARTTLS\r\n",)), Step(b"STARTTLS\r\n", (b"220",)), HANDSHAKE]
    if login:
        words = base64.b64encode(b"\0%s\0%s" % (login[0].encode(), login[1].encode()))
        steps.append(Step(hello, (b"250",), (pipelining, b"AUTH ", b" PLAIN")))
        steps.append(Step(b"AUTH PLAIN %s\r\n" % words, (b"235",)))
    else:
        steps.append(Step(hello, (b"250",), (pipelining,)))
    envelope = f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
    steps += [Step(envelope, (b"250", b"250", b"354")), Step(content, (b"250",))] * messages
    return [*steps, Step(b"QUIT\r\n", (b"221",))]


def submit(
    port: int,
    conversations: Iterator[list[Step]],
    sessions: int,
    context: ssl.SSLContext | None,
    *,
    prompt_acks: bool = False,
) -> None:
    """Have all conversations with `port` of loopback, `sessions` at a time. `context` is for those with a handshake.

    `prompt_acks`: acknowledge what comes at once. Linux waits up to 40 ms for something to send with it, and a server
    that writes twice in a row without TCP_NODELAY waits for that.

    Raises OSError when the server refuses anything, says what it was not asked, closes the connection or stalls.
    """
    ready, talking = select.epoll(), dict[int, _Connection]()

    def begin() -> None:
        steps = next(conversations, None)
        if steps is not None:
            connection = _Connection(port, steps, context, prompt_acks)
            talking[connection.socket.fileno()] = connection
            ready.register(connection.socket, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    try:
        for _ in range(sessions):
            begin()
        while talking:
            events = ready.poll(60)
            if not events:
                raise TimeoutError("the server has said nothing for a minute")
            for number, _ in events:
                if talking[number].go_on():
                    talking.pop(number).socket.close()
                    begin()
    finally:
        for connection in talking.values():
            connection.socket.close()
        ready.close()


class _Connection:
    """One conversation; `go_on` is called whenever its socket has become readable or writable."""

    def __init__(self, port: int, steps: list[Step], context: ssl.SSLContext | None, prompt_acks: bool) -> None:
        self._steps, self._context, self._prompt_acks = iter(steps), context, prompt_acks
        self._replies, self._unsent = b"", b""
        self._tls: ssl.SSLObject | None = None
        self._shaken = False
        self._take(next(self._steps))
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = self.socket.connect_ex(("127.0.0.1", port))
        if error not in (0, errno.EINPROGRESS):
            raise OSError(error, "cannot connect")

    def go_on(self) -> bool:
        """Take what has come, say what is next, send what is not sent yet. True when the conversation has ended."""
        try:
            while True:
                data = self.socket.recv(_CHUNK)
                if not data:
                    raise OSError(f"the server closed the connection, its last words {self._replies!r}")
                self._replies += data if self._tls is None else self._decrypt(self._tls, data)
                if len(data) < _CHUNK:  # else more may be there, of which epoll does not tell again
                    break
        except BlockingIOError:
            pass
        ended = False
        while not ended and self._answered():
            step = next(self._steps, None)
            if step is None:
                ended = True
                self._say_goodbye()
            else:
                self._take(step)
        if self._unsent:
            with suppress(BlockingIOError):
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        if self._prompt_acks:  # until the kernel forgets it, which is soon
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return ended

    def _take(self, step: Step) -> None:
        self._step = step
        if step is HANDSHAKE:
            assert self._context is not None
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing)
            self._shake_hands(self._tls)
        elif self._tls is None:
            self._unsent += step.said
        elif step.said:
            self._tls.write(step.said)
            self._unsent += self._outgoing.read()

    def _answered(self) -> bool:
        """Whether the step is done: all its replies are there. Raises OSError when they are not what they must be."""
        step, replies = self._step, self._replies
        if step is HANDSHAKE:
            return self._shaken
        if not replies.endswith(b"\r\n"):
            return False
        last = [line[:3] for line in replies.split(b"\r\n")[:-1] if line[3:4] != b"-"]
        if tuple(last) != step.codes[: len(last)]:
            raise OSError(f"refused: {replies!r}")
        if len(last) < len(step.codes):
            return False
        if not all(word in replies for word in step.announced):
            raise OSError(f"not all of {step.announced!r} is announced: {replies!r}")
        self._replies = b""
        return True

    def _shake_hands(self, tls: ssl.SSLObject) -> None:
        try:
            tls.do_handshake()
            self._shaken = True
        except ssl.SSLWantReadError:
            pass
        self._unsent += self._outgoing.read()

    def _decrypt(self, tls: ssl.SSLObject, data: bytes) -> bytes:
        self._incoming.write(data)
        if not self._shaken:
            self._shake_hands(tls)
        plain = b""
        while self._shaken and (self._incoming.pending or tls.pending()):
            try:
                got = tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                break
            if not got:  # the server's goodbye
                break
            plain += got
        return plain

    def _say_goodbye(self) -> None:
        """What ends a TLS connection; the socket is closed without waiting for the server's."""
        if self._tls is not None:
            with suppress(ssl.SSLError):  # ours is written, the server's may not have come yet
                self._tls.unwrap()
            self._unsent += self._outgoing.read()
