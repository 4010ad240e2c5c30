"""An SMTP or LMTP server on loopback that does as it is told at each step, right or wrong, and keeps what it took."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from self_signed import self_signed

DROP = "drop"  # the connection is reset
CLOSE = "close"  # it is closed, properly where there is TLS
STALL = "stall"  # nothing is said any more
DRIP = "drip"  # octets of an answer that never ends, one every few milliseconds
TRAILS = "trails"  # lines of an answer that never ends
ACCEPT_AND_DROP = "accept and drop"  # at END: the message is taken and nobody is told

OFFER = ("PIPELINING", "8BITMIME", "DSN", "ENHANCEDSTATUSCODES", "SIZE 100000000", "SMTPUTF8")

Action = bytes | str


class Peer:
    """`plan` has for a step what is done in the place of its usual answer, or a list of that, one for each time.

    Steps: banner, EHLO, HELO, STARTTLS, handshake, AUTH, MAIL, RCPT, DATA, content (while it comes), END, BDAT, RSET,
    QUIT. What is done: octets to be said, or one of the words above.
    """

    def __init__(
        self,
        plan: dict[str, Action | Sequence[Action | None]] | None = None,
        *,
        offer: Sequence[str] = OFFER,
        offer_in_tls: Sequence[str] | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        lmtp: bool = False,
        name: str = "peer.example",
    ) -> None:
        self.plan = {
            step: list(done) if isinstance(done, (list, tuple)) else [done] for step, done in (plan or {}).items()
        }
        self._always = {step for step, done in (plan or {}).items() if not isinstance(done, (list, tuple))}
        self.offer, self.offer_in_tls = offer, offer_in_tls
        self.tls, self.implicit_tls, self.lmtp, self.name = tls, implicit_tls, lmtp, name
        self.commands: list[str] = []  # of all connections
        self.messages: list[tuple[str, tuple[str, ...], bytes]] = []
        self.connections = 0
        self.writes: list[int] = []  # octets at each read of content
        self.logins: list[bytes] = []
        self.sasl: Any = None  # an async function (peer connection, argument) -> reply, for AUTH
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Peer:
        return await self.listen()

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def listen(self, host: str = "127.0.0.1", port: int = 0, *, path: Path | None = None) -> Peer:
        if path is not None:
            self._server = await asyncio.start_unix_server(self._begin, path)
        else:
            context = self.tls if self.implicit_tls else None
            self._server = await asyncio.start_server(self._begin, host, port, ssl=context)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # the transports end

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(_Conversation(self, reader, writer).run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def action(self, step: str) -> Action | None:
        """What is to be done now instead of the usual."""
        left = self.plan.get(step)
        if not left:
            return None
        return left[0] if step in self._always else left.pop(0)


class _Gone(Exception):
    pass


class _Conversation:
    def __init__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peer, self.reader, self.writer = peer, reader, writer
        self.secure = peer.implicit_tls
        self.sender: str | None = None
        self.recipients: list[str] = []
        peer.connections += 1

    async def run(self) -> None:
        try:
            await self._run()
        except (_Gone, OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            self.writer.transport.abort()
        finally:
            self.writer.close()

    async def _run(self) -> None:
        if self.secure and await self._step("handshake", b""):
            return
        await self._step("banner", b"220 %b ESMTP\r\n" % self.peer.name.encode())
        while line := await self.reader.readline():
            text = line.decode("latin-1").rstrip("\r\n")
            self.peer.commands.append(text)
            verb = text.partition(" ")[0].upper()
            handler = getattr(self, f"_{verb.lower()}", None)
            if handler is None:
                self.writer.write(b"500 5.5.1 what\r\n")
            else:
                await handler(text)
            if verb == "QUIT":
                return

    async def _step(self, step: str, usual: bytes) -> bool:
        """Answer; true when it was not the usual answer."""
        action = self.peer.action(step)
        said = usual if action is None else action
        if isinstance(said, bytes):
            self.writer.write(said)
            await self.writer.drain()
        elif said in (DROP, ACCEPT_AND_DROP):
            self.writer.transport.abort()
            raise _Gone
        elif said == CLOSE:
            self.writer.close()
            raise _Gone
        elif said == DRIP:
            await self._drip()
        elif said == TRAILS:
            while True:
                self.writer.write(b"250-and so on\r\n")
                await self.writer.drain()
                await asyncio.sleep(0)
        else:
            await asyncio.Event().wait()
        return action is not None

    async def _drip(self) -> None:
        while True:
            self.writer.write(b"2")
            await asyncio.sleep(0.02)

    def _offered(self) -> Sequence[str]:
        if self.secure:
            return self.peer.offer_in_tls if self.peer.offer_in_tls is not None else self.peer.offer
        return [*self.peer.offer, *(["STARTTLS"] if self.peer.tls is not None else [])]

    async def _ehlo(self, text: str) -> None:
        lines = [self.peer.name, *self._offered()]
        said = "".join(f"250{'-' if n < len(lines) - 1 else ' '}{line}\r\n" for n, line in enumerate(lines))
        await self._step("EHLO", said.encode())

    _lhlo = _ehlo

    async def _helo(self, text: str) -> None:
        await self._step("HELO", b"250 %b\r\n" % self.peer.name.encode())

    async def _starttls(self, text: str) -> None:
        if await self._step("STARTTLS", b"220 2.0.0 go\r\n"):
            return
        if await self._step("handshake", b""):
            return
        assert self.peer.tls is not None
        await self.writer.start_tls(self.peer.tls)
        self.secure = True

    async def _auth(self, text: str) -> None:
        if self.peer.sasl is not None:
            await self._step("AUTH", await self.peer.sasl(self, text))
            return
        self.peer.logins.append(text.encode())
        await self._step("AUTH", b"235 2.7.0 welcome\r\n")

    async def ask(self, challenge: bytes) -> bytes:
        """The next line of an AUTH exchange, after this 334."""
        self.writer.write(b"334 " + challenge + b"\r\n")
        return (await self.reader.readline()).rstrip(b"\r\n")

    async def _mail(self, text: str) -> None:
        if not await self._step("MAIL", b"250 2.1.0 ok\r\n"):
            self.sender, self.recipients = text, []

    async def _rcpt(self, text: str) -> None:
        if self.sender is None:
            self.writer.write(b"503 5.5.1 no MAIL\r\n")
        elif not await self._step("RCPT", b"250 2.1.5 ok\r\n"):
            self.recipients.append(text)

    async def _data(self, text: str) -> None:
        if not self.recipients:
            self.writer.write(b"554 5.5.1 no valid recipients\r\n")
            return
        if await self._step("DATA", b"354 go\r\n"):
            return
        content = b"\r\n"
        while not content.endswith(b"\r\n.\r\n"):
            if len(content) > 2 and self.peer.plan.get("content"):
                await self._step("content", b"")
            data = await self.reader.read(65536)
            if not data:
                return
            self.peer.writes.append(len(data))
            content += data
        await self._end(content[2:-3].replace(b"\r\n..", b"\r\n."))

    async def _bdat(self, text: str) -> None:
        words = text.split()
        data = await self.reader.readexactly(int(words[1]))
        self.chunks = getattr(self, "chunks", b"") + data
        if words[-1].upper() == "LAST":
            await self._end(self.chunks)
        else:
            await self._step("BDAT", b"250 2.0.0 octets\r\n")

    async def _end(self, content: bytes) -> None:
        assert self.sender is not None
        kept = (self.sender, tuple(self.recipients), content)
        step = self.peer.plan.get("END", [])
        if ACCEPT_AND_DROP in step[:1]:
            self.peer.messages.append(kept)
        for number in range(len(self.recipients) if self.peer.lmtp else 1):
            if not await self._step("END", b"250 2.0.0 taken\r\n") and number == 0:
                self.peer.messages.append(kept)
        self.sender, self.recipients = None, []

    async def _rset(self, text: str) -> None:
        await self._step("RSET", b"250 2.0.0 ok\r\n")
        self.sender, self.recipients = None, []

    async def _noop(self, text: str) -> None:
        await self._step("NOOP", b"250 2.0.0 ok\r\n")

    async def _quit(self, text: str) -> None:
        await self._step("QUIT", b"221 2.0.0 bye\r\n")


def certificate(folder: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """The path of a self-made certificate for these names and addresses, and a server's context with it."""
    made, private = self_signed(folder, *names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, private)
    return made, context
