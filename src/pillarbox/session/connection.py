"""The transport side of an IMAP or POP3 connection: bytes to the core and back, flow control, TLS, deadlines, goodbyes.

What arrives goes to the core, and its events are answered one after the other: right there up to the first that has to
wait, and the others when what it waits for is there. No task is needed for that, least of all by an idle connection.
What is written waits for the client to take it, and what it sends waits for us to keep up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast

import structlog

from pillarbox.access.authenticate import Identity
from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role

from . import leaving, tls
from .admission import mailbox_refusal
from .begin import carry
from .compression import BadStream, Compression
from .keep_alive import keep_alive
from .node import Node
from .peer import Peer, peer_of

log = structlog.get_logger()

LOGIN_PATIENCE = 60.0  # seconds from the connection to the login
STALLED = 300.0  # seconds that a client may leave our output untaken
WORKING = 60.0  # seconds until a connection that works for its client is looked at again
REVOKED = 1.0  # seconds that a command may still take when the account has been disabled
UNREAD = 128 * 1024  # octets that may arrive while a command is answered; then reading pauses
TURN = 64  # commands answered in a row before others have their turn


class Lost(Exception):
    """The connection has gone; nobody waits for the answer."""


class Core(Protocol):
    """What is asked of a protocol's core here. Both have more."""

    hostname: str
    tls: bool

    @property
    def closed(self) -> bool: ...
    @property
    def buffered(self) -> int: ...
    def receive(self, data: bytes) -> None: ...
    def next_event(self) -> Any: ...
    def output(self) -> Iterator[bytes]: ...
    def greet(self) -> None: ...
    def tls_started(self) -> None: ...


C = TypeVar("C", bound=Core)


class Connection(asyncio.Protocol, Generic[C]):
    """One client. A subclass makes the core and answers its events."""

    role: ClassVar[Role]
    idle_patience: ClassVar[float]  # seconds without a word from a client that has logged in

    __slots__ = (
        "_admitted",
        "_busy",
        "_drained",
        "_early",
        "_ended",
        "_goodbye",
        "_loop",
        "_paused",
        "_peer_known",
        "closed",
        "compression",
        "core",
        "deadline",
        "identity",
        "node",
        "peer",
        "transport",
        "turn",
    )

    def __init__(self, node: Node, peer: Peer | None = None) -> None:
        """`peer`: who it really is, when a proxy said so; else the transport tells."""
        self.node = node
        self.peer = peer or Peer("", 0, "")
        self.core: C
        self.transport: asyncio.Transport
        self.identity: Identity | None = None
        self.closed = False  # the transport has gone
        self.compression: Compression | None = None  # once the client has asked for it
        self.deadline = float("inf")
        self.turn = -1
        self._loop = asyncio.get_running_loop()
        self._peer_known = peer is not None
        self._admitted = False
        self._busy: asyncio.Task[None] | Literal[True] | None = None  # events are answered; the task, if one does it
        self._drained: asyncio.Future[None] | None = None  # done when the client has taken what was written
        self._paused = False  # reading
        self._ended = False  # the client sends no more
        self._early: list[bytes] | None = None  # what TLS brings before the upgrade has returned
        self._goodbye: str | None = None  # BYE is to be said as soon as nothing is under way

    # For subclasses.

    def make_core(self, *, tls: bool) -> C:
        """The core for this connection."""
        raise NotImplementedError

    async def answer(self, event: Any) -> None:
        """Answer an event on the core. Raises Lost when the connection has gone."""
        raise NotImplementedError

    def bye(self, text: str, *, unavailable: bool = False) -> None:
        """Say on the core that the conversation ends here; `unavailable`: it did not begin."""
        raise NotImplementedError

    def has_news(self) -> bool:
        """Whether `push` has something to do: something is to be told without having been asked."""
        return False

    async def push(self) -> None:
        """Tell the news."""

    def in_transfer(self) -> bool:
        """Whether a message is coming in: it is let finish."""
        raise NotImplementedError

    def forget(self) -> None:
        """The connection has ended, and nothing is under way: give everything back."""
        raise NotImplementedError

    async def drained(self) -> None:
        """Write what is there and wait until the client has taken enough of it. Raises Lost."""
        self.flush()
        while self._drained is not None and not self.closed:
            await self._drained
        self.active()

    def active(self) -> None:
        """Long commands call this now and then: the connection is not idle. Raises Lost when it is not there."""
        if self.closed or self.transport.is_closing():
            raise Lost
        if self.identity is not None:
            self.deadline = self._loop.time() + self.idle_patience

    def flush(self) -> None:
        """Give the transport what the core has to say."""
        pieces = list(self.core.output())
        if pieces and not self.closed:
            self.transport.writelines(pieces if self.compression is None else self.compression.outgoing(pieces))

    def work(self) -> None:
        """Push news, and answer events, in a task; there is none yet."""
        self._busy = self._loop.create_task(self._answer_all())

    @property
    def busy(self) -> bool:
        """Events are being answered."""
        return self._busy is not None

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        node = self.node
        self.transport = cast(asyncio.Transport, transport)
        if not self._peer_known:
            self.peer = peer_of(transport)
        keep_alive(transport)
        self.core = self.make_core(tls=tls.described(transport) is not None)
        refusal = mailbox_refusal(node, self.role, self.peer)
        if refusal is not None:
            self.bye(refusal, unavailable=True)
            self.end()
            return
        self._admitted = True
        node.sessions.add(self)
        self.core.greet()
        self.flush()
        self.deadline = self._loop.time() + LOGIN_PATIENCE
        node.deadlines.watch(self)

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early.append(data)
            return
        if self.compression is None:
            self.core.receive(data)
        else:
            self.compression.hold(data)
        if self.identity is not None and self._goodbye is None:
            self.deadline = self._loop.time() + self.idle_patience
        if self._busy is None:
            self._busy = True
            carry(self._answer_all())
        elif self._unread() and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        # A client may shut its side down after its last command and still read (not so over TLS).
        return self._busy is not None and not self.core.tls

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.node.deadlines.forget(self)
        self.node.sessions.discard(self)
        if self._admitted:
            self._admitted = False
            self.node.limiter.leave(self.peer.address, self.role)
        self.resume_writing()
        if self._busy is None:  # else what is under way ends first: a commit is not taken back
            self.forget()

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = self._loop.create_future()
            self.deadline = self._loop.time() + STALLED
            self.node.deadlines.watch(self)

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
            if not self.closed:
                self.deadline = self._loop.time() + self.idle_patience

    # For the worker.

    def leave(self, *, now: bool) -> None:
        """Say BYE and close: after the command that is under way. Without `now` that is at some moment of the next two
        minutes, so that a client in the middle of its work does not notice and not all of them come back at once."""
        if now:
            self.say_goodbye("The server is going down, please reconnect")
        else:
            self._loop.call_later(leaving.later(), self.say_goodbye, "The server is going down, please reconnect")

    def log_out(self, reason: str) -> None:
        """The account's credentials have changed, see `watch.LoginWatch`."""
        log.info("Session ended: %s", reason, peer=str(self.peer))
        self.say_goodbye("Your credentials have changed, log in again")
        if self._busy is not None:
            self._loop.call_later(REVOKED, self.abort)  # a long answer does not go on

    def part(self) -> None:
        """Nobody waits any longer: BYE within a transfer too, but not within the answer to a command."""
        if self._busy is None and not self.closed:
            self.bye(self._goodbye or "The server is going down, please reconnect")
            self.end()

    def abort(self) -> None:
        """Close without a word."""
        if not self.closed:
            self.transport.abort()

    def timed_out(self) -> None:
        """The deadline has passed, see `deadlines`."""
        if self.closed:
            return
        if self._drained is not None or self._early is not None:
            self.transport.abort()  # it does not take what we write
        elif self._busy is not None:
            self.deadline = self._loop.time() + WORKING  # it waits for us, not we for it
            self.node.deadlines.watch(self)
        else:
            if self.in_transfer():
                self._goodbye = None
            text = "You have been idle for too long" if self.identity is not None else "Logging in took too long"
            self.bye(self._goodbye or text)
            self.end()

    def say_goodbye(self, text: str) -> None:
        """BYE, now or when the command that is under way has ended."""
        if self.closed:
            return
        self._goodbye = text
        if self._busy is None and not self.in_transfer():
            self.bye(text)
            self.end()

    # Inside.

    def end(self) -> None:
        """Write the last words and close."""
        self.flush()
        self.transport.close()

    async def _answer_all(self) -> None:
        """Answer events until there is none."""
        core = self.core
        answered = 0
        try:
            while not self.closed:
                if news := self.has_news():
                    await self.push()
                event = core.next_event()
                if event is not None:
                    await self.answer(event)
                    self.flush()
                    if core.closed or (self._goodbye is not None and not self.in_transfer()):
                        break
                    if self._drained is not None:
                        await self.drained()
                    if self._paused and not self._unread():
                        self._paused = False
                        self.transport.resume_reading()
                elif not (news or (self.compression is not None and self._expand(self.compression))):
                    break
                answered += 1
                if answered % TURN == 0:
                    await asyncio.sleep(0)
        except Lost:
            pass
        except Exception:
            log.exception("A session has failed", protocol=self.role.name, peer=str(self.peer))
            self.node.slot.add(Field.ERRORS)
            self._goodbye = "The server made a mistake and has logged it"
        finally:
            self._busy = None
            self._rest()

    def _unread(self) -> bool:
        """More has arrived than is kept for later."""
        return self.core.buffered > UNREAD or (self.compression is not None and self.compression.held > UNREAD)

    def _expand(self, compression: Compression) -> bool:
        """Give the core more of what arrived compressed; False when there is none."""
        try:
            piece = compression.incoming()
        except BadStream as error:
            log.info("A client's compressed stream is broken", peer=str(self.peer), error=str(error))
            self.abort()
            raise Lost from None
        self.core.receive(piece)
        return bool(piece)

    def _rest(self) -> None:
        """No event is left to be answered."""
        if self.closed:
            self.forget()
            return
        core = self.core
        if self._goodbye is not None and not core.closed and not self.in_transfer():
            self.bye(self._goodbye)
        if core.closed:
            self.end()
            return
        self.flush()
        if self._ended:
            self.transport.close()
        elif self._paused:
            self._paused = False
            self.transport.resume_reading()

    async def start_tls(self) -> None:
        """Upgrade the transport; STARTTLS has been answered on the core. Raises Lost when the handshake fails."""
        context = self.node.tls.context
        assert context is not None  # else it was not offered
        self.transport.pause_reading()  # what arrives from here on is the handshake's
        self._early = []
        self.flush()
        try:
            self.transport = await tls.upgrade(self.transport, self, context)
        except OSError as error:
            self.node.slot.add(Field.TLS_FAILURES)
            log.info("TLS handshake failed", peer=str(self.peer), error=str(error))
            raise Lost from error
        self.node.slot.add(Field.TLS_HANDSHAKES)
        self._paused = False
        early, self._early = self._early, None
        self.core.tls_started()
        for data in early:
            self.core.receive(data)
