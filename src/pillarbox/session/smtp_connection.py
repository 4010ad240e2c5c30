"""The transport side of an SMTP connection: bytes to the core and back, waiting, flow control, TLS, deadlines.

Events are answered where they arrive whenever that needs no waiting; a handler that must wait returns a coroutine or a
future, and until that has ended what arrives only joins the core's buffer. All replies of a pipelined batch go out in
one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import structlog

from pillarbox.access.exchange import NO_CHANNEL
from pillarbox.access.ledger import Field
from pillarbox.access.limits import Role
from pillarbox.smtp.core import SmtpCore
from pillarbox.smtp.events import Event
from pillarbox.smtp.replies import Reply, encode

from . import leaving, smtp_debug, tls
from . import smtp_replies as say
from .admission import smtp_refusal
from .node import Node
from .peer import Peer, peer_of
from .smtp_policy import policy

log = structlog.get_logger()

UNREAD = 64 * 1024  # octets that may arrive while we work on what came before; then reading pauses
LINGER = 2.0  # seconds that a refused client has to take the last reply before the socket is reset
_EXCESSES = ((b"452 4.5.3 ", "Max recipients limit exceeded"), (b"552 5.3.4 ", "Message size too large"))
_WORKING = 60.0  # seconds until the deadline of a connection that works is looked at again

Work = Coroutine[Any, Any, None] | asyncio.Future[Any]


class SmtpConnection(asyncio.Protocol):
    """One client. Subclasses answer events in `answer` and drop a transaction in `forget`."""

    def __init__(self, node: Node, role: Role = Role.SMTP, peer: Peer | None = None) -> None:
        """`peer`: who it really is, when a proxy said so; else the transport tells."""
        self.node = node
        self.role = role
        self.peer = peer or Peer("", 0, "")
        self.deadline = float("inf")
        self.turn = -1
        self.secured: tuple[str, str] | None = None  # version and cipher of TLS
        self.channel = NO_CHANNEL  # the TLS of the connection, for SASL
        self.core: SmtpCore
        self.transport: asyncio.Transport
        self.closed = False  # the transport has gone
        self._debug = node.settings.log_level == "debug"
        self._peer_known = peer is not None
        self._settings = node.settings
        self._loop = asyncio.get_running_loop()
        self._admitted = False
        self._heard = False  # the client has said something
        self._busy: asyncio.Future[Any] | None = None
        self._unread = 0
        self._early: list[bytes] | None = None  # what TLS brings before the upgrade has returned
        self._writable = True
        self._paused = False
        self._ended = False  # the client sends no more
        self._goodbye: Reply | None = None  # to be said as soon as nothing is under way
        self._parting = False  # ... and not after the transaction, but after the command
        self._lingering = False
        self._content_until: float | None = None

    # For subclasses.

    def answer(self, event: Event) -> Work | None:
        """Answer an event on the core; what is returned is awaited before the next one.

        A future is given to `resume` when it is done, which costs less than a task.
        """
        raise NotImplementedError

    def resume(self, done: asyncio.Future[Any]) -> None:
        """Go on with what a future has brought."""
        raise NotImplementedError

    def forget(self) -> None:
        """The connection has ended: give back what the transaction holds."""
        raise NotImplementedError

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        node, settings = self.node, self._settings
        self.transport = cast(asyncio.Transport, transport)
        if not self._peer_known:
            self.peer = peer_of(transport)
        self._meet(transport)
        limits, offer = policy(settings, node, self.role, self.peer, self.channel)
        lmtp = self.role is Role.LMTP
        self.core = SmtpCore(settings.hostname, limits, offer, lmtp=lmtp, tls=self.secured is not None)
        refusal = smtp_refusal(node, self.role, self.peer)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._admitted = True
        node.sessions.add(self)
        log.debug("Connection from %s: connected", self.peer)
        self.core.greet()
        self.transport.write(self.core.output())
        self.deadline = self._loop.time() + settings.greeting_timeout_seconds
        node.deadlines.watch(self)

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early.append(data)
            return
        if self._lingering:
            return
        self.core.receive(data)
        if self._busy is None:
            self._pump()
        else:
            self._unread += len(data)
            if self._unread > UNREAD:
                self._set_reading()

    def eof_received(self) -> bool:
        self._ended = True
        # A client may shut its side down after its last command and still wait for our replies (not so over TLS).
        return self._busy is not None and self.secured is None

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.node.deadlines.forget(self)
        self.node.sessions.discard(self)
        if self._admitted:
            self._admitted = False
            self.node.limiter.leave(self.peer.address, self.role)
            log.debug("Connection from %s: disconnected", self.peer)
        if self._busy is None:  # else what is under way ends first: a commit is not taken back
            self.forget()

    def pause_writing(self) -> None:
        self._writable = False
        self._set_reading()

    def resume_writing(self) -> None:
        self._writable = True
        self._set_reading()

    # For the worker.

    def leave(self, *, now: bool) -> None:
        """Say 421 and close when no transaction is open, else after it. Without `now` at some moment of the next two
        minutes, so that a client in the middle of its work does not notice and not all of them come back at once."""
        if now:
            self._leave()
        else:
            self._loop.call_later(leaving.later(), self._leave)

    def _leave(self) -> None:
        self._goodbye = say.SHUTTING_DOWN
        if self._busy is None and not self.closed:
            self._end_of_batch()

    def part(self) -> None:
        """Nobody waits any longer: 421 within a transaction too, but not in the place of an answer that is owed."""
        if self._busy is None and not self.closed and not self._lingering:
            self.close(say.SHUTTING_DOWN)

    def part_with(self, reply: Reply) -> None:
        """Say this and close: at once, unless we owe the answer to a command; then behind it."""
        self._goodbye, self._parting = reply, True
        if self._busy is None and not self.closed and not self._lingering:
            self.close(reply)

    def abort(self) -> None:
        if not self.closed:
            self.transport.abort()

    def timed_out(self) -> None:
        """The deadline has passed, see `deadlines`."""
        if self.closed:
            return
        if self._lingering or self.transport.is_closing():
            self.transport.abort()  # it does not take the last words
            return
        if self._busy is not None and self._content_until is None:
            self.deadline = self._loop.time() + _WORKING  # it waits for us, not we for it
            self.node.deadlines.watch(self)
            return
        if self._content_until is not None:
            took = self._loop.time() - self._content_until + self._settings.data_timeout_seconds
            log.warning("DATA timeout exceeded for %s after %dms", self.peer, took * 1000)
            self.close(say.DATA_TIMEOUT)
        else:
            log.info(f"Connection timeout after {self._waited()} seconds from {self.peer}")
            self.close(say.CONNECTION_TIMEOUT)

    def close(self, reply: Reply) -> None:
        """Say something that answers no command, and close."""
        self.core.close(*reply)
        self._finish()

    # Inside.

    def _meet(self, transport: asyncio.BaseTransport) -> None:
        """Learn what TLS the transport has."""
        self.secured = tls.described(transport)
        asked = self.secured and self.role is Role.SUBMISSION
        self.channel = tls.channel(transport, self.peer) if asked else NO_CHANNEL

    def _pump(self) -> None:
        """Answer all that has arrived, up to the first that must wait."""
        core = self.core
        try:
            while (event := core.next_event()) is not None:
                if self._debug:
                    smtp_debug.heard(self.peer, event)
                work = self.answer(event)
                if work is not None:
                    self._await(work)
                    break
        except Exception:
            self._failed()
        self._end_of_batch()

    def _await(self, work: Work) -> None:
        if isinstance(work, asyncio.Future):
            self._busy = work
            work.add_done_callback(self._future_done)
        else:
            self._busy = self._loop.create_task(self._wait_for(work))

    async def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            self._failed()
        self._go_on()

    def _future_done(self, done: asyncio.Future[Any]) -> None:
        try:
            self.resume(done)
        except Exception:
            self._failed()
        self._go_on()

    def _failed(self) -> None:
        log.exception("A command could not be answered", peer=str(self.peer))
        self.node.slot.add(Field.ERRORS)
        self.core.close(*say.INTERNAL_ERROR)

    def _go_on(self) -> None:
        self._busy = None
        self._unread = 0
        if self.closed:
            self.forget()
            return
        self._pump()
        self._set_reading()

    def _end_of_batch(self) -> None:
        """Write what is to be said and set the deadline for what comes next."""
        core = self.core
        if self.closed or self._early is not None:
            return
        idle = self._busy is None
        if self._goodbye is not None and idle and (self._parting or not core.mid_transaction):
            core.close(*self._goodbye)
        if core.closed:
            self._finish()
            return
        if out := core.output():
            self._write(out)
            self._note_excess(out)
        if self._ended and idle:
            self.transport.close()
            self._linger()
            return
        now = self._loop.time()
        if core.receiving:
            if self._content_until is None:
                self._content_until = now + self._settings.data_timeout_seconds
            self.deadline = min(self._content_until, now + self._settings.timeout_seconds)
        else:
            self._content_until = None
            if not self._heard:
                return  # half a line is no command: the time for the greeting goes on
            if not idle or out:  # a command that trickles in does not get more time by trickling
                self.deadline = now + min(self._settings.command_timeout_seconds, self._settings.timeout_seconds)
        if self.turn > self.deadline + 1:
            self.node.deadlines.watch(self)

    def _write(self, out: bytes) -> None:
        self.transport.write(out)
        if self._debug:
            smtp_debug.said(self.peer, out)

    def _note_excess(self, out: bytes) -> None:
        """Say in the log which limit of ours the core has refused something for."""
        for code, excess in _EXCESSES:
            if code in out:
                log.warning(f"Security event from {self.peer}: {excess}")

    def _waited(self) -> int:
        if not self._heard:
            return self._settings.greeting_timeout_seconds
        return min(self._settings.command_timeout_seconds, self._settings.timeout_seconds)

    def heard(self) -> None:
        """The client has greeted: from now on it has the time for a command."""
        self._heard = True

    def parted(self) -> None:
        """The client said QUIT: it sends no more."""
        self._ended = True

    def _set_reading(self) -> None:
        """Read only while the client reads our replies and we keep up with it."""
        if self.closed or self._early is not None or self.transport.is_closing():
            return
        pause = not self._writable or (self._busy is not None and self._unread > UNREAD)
        if pause != self._paused:
            self._paused = pause
            if pause:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def stop_reading(self) -> None:
        """What is being waited for makes no room for more octets: read none until it has ended."""
        self._unread = UNREAD + 1
        if not self._paused and not self.closed:
            self._paused = True
            self.transport.pause_reading()

    def _finish(self) -> None:
        """Write the last words and close; the client gets a moment to take them.

        Closing a socket with unread input resets it, which can destroy a reply that is still on its way.
        """
        if self.closed or self._lingering:
            return
        if out := self.core.output():
            self._write(out)
        if self._ended or self.secured is not None or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()
            if self._paused:
                self._paused = False
                self.transport.resume_reading()
        self._linger()

    def _linger(self) -> None:
        """The transport closes when the client has taken what is written; one that takes nothing is cut off."""
        self._lingering = True
        self.deadline = self._loop.time() + LINGER
        self.node.deadlines.watch(self)

    def _refuse(self, reply: Reply) -> None:
        self.transport.write(encode(*reply))
        self.transport.close()
        self._lingering = True

    # TLS.

    def start_tls(self) -> Work | None:
        """Answer STARTTLS."""
        holder = self.node.tls
        context = holder.context if self.role is Role.SUBMISSION else holder.exchanger
        if context is None:
            self.core.reply(*say.NO_TLS)
            return None
        self.core.accept()
        self.transport.pause_reading()  # what arrives from here on is the handshake's
        self.transport.write(self.core.output())
        self._early = []
        return self._upgrade(tls.upgrade(self.transport, self, context))

    async def _upgrade(self, handshake: Coroutine[Any, Any, asyncio.Transport]) -> None:
        try:
            self.transport = await handshake
        except OSError as error:
            self.node.slot.add(Field.TLS_FAILURES)
            log.info("TLS handshake failed", peer=str(self.peer), error=str(error))
            self._early = None
            return
        self.node.slot.add(Field.TLS_HANDSHAKES)
        self._paused = False
        self._meet(self.transport)
        early, self._early = self._early or [], None
        self.core.offer = policy(self._settings, self.node, self.role, self.peer, self.channel)[1]
        self.core.tls_started()
        self.deadline = self._loop.time() + self._waited()
        for data in early:
            self.core.receive(data)
