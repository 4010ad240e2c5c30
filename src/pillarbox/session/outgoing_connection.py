"""One connection to another server: octets to the client core and back, one wait at a time, each with a deadline."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from pillarbox.flow.alarm import Alarm
from pillarbox.flow.parcel import Reply, Stage
from pillarbox.smtp.answer import Answer, enhanced_of
from pillarbox.smtp.client import ClientCore
from pillarbox.smtp.client_events import Event

from . import tls
from .outgoing_timeouts import BLOCK, Timeouts

UNREAD = 64 * 1024  # octets that may arrive while nobody reads; then the transport is paused
MAX_TEXT = 1000  # characters of a reply that are kept
_STAGES: dict[str, Stage] = {"CONNECT": "GREETING", "CLOSED": "LOST"}
_WAITED_FOR = {
    "CONNECT": "its greeting",
    "END": "its answer to the end of the message",
    "BDAT": "its answer to BDAT",
    "": "it to take the message",
}


class Ended(Exception):
    """The connection, or the time for a step, has ended. `stage` is LOST or TIMEOUT."""

    def __init__(self, stage: Stage, text: str) -> None:
        super().__init__(text)
        self.stage = stage
        self.answer = Answer(421, "4.4.2", (text,))


class Connection(asyncio.Protocol):
    """Drives a `ClientCore`. One task at a time waits on it."""

    def __init__(self, core: ClientCore, host: str, ip: str, port: int, timeouts: Timeouts) -> None:
        """`host` is the name it was looked up under. `ip` may be the path of a Unix socket."""
        self.core = core
        self.host = host
        self.ip = ip
        self.address = shown_address(ip, port)
        self.timeouts = timeouts
        self.tls = ""
        self.own: frozenset[str] = frozenset()  # our names, in lower case
        self.namesake = False  # the server has one of them
        self.lost = False
        self.transport: asyncio.Transport
        self._why = ""
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._alarm = Alarm(self._wake)
        self._writable = True
        self._unread = 0
        self._paused = False

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=BLOCK)

    def data_received(self, data: bytes) -> None:
        self.core.receive(data)
        if self._waiter is not None:
            self._wake()
            return
        self._unread += len(data)
        if self._unread > UNREAD and not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._why = f": {described(exc)}" if exc is not None else ""
        self._alarm.end()
        self._wake()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()

    @property
    def open(self) -> bool:
        """What is written may still reach the server."""
        return not self.lost and not self.transport.is_closing()

    # For who drives it.

    async def event(self, until: float = float("inf")) -> Event | None:
        """Write what the core says and wait for its next event; None when it awaits nothing more.

        Each answer has the time of its step, all together until `until` (of the loop's clock). Raises Ended.
        """
        seen, deadline = -1, until
        while True:
            event = self.poll()
            if event is not None:
                return event
            awaiting = self.core.awaiting
            if not awaiting and not self.core.closed:
                return None
            if self.lost or self.core.closed:
                raise self._ended("LOST")
            if self.core.answered != seen:
                seen = self.core.answered
                deadline = min(self._loop.time() + self.timeouts.step(awaiting), until)
            await self._wait(deadline)

    def poll(self) -> Event | None:
        """An event that needs no waiting. Writes what the core says."""
        event = self.core.next_event()
        self.flush()
        self._unread = 0
        if self._paused and self.open:
            self._paused = False
            self.transport.resume_reading()
        return event

    def flush(self) -> None:
        if (out := self.core.output()) and self.open:
            self.transport.write(out)

    async def drained(self, until: float) -> Event | None:
        """Wait until the server has taken most of what was written; it has `timeouts.block` for that. An event if one
        comes before. Raises Ended."""
        deadline = min(self._loop.time() + self.timeouts.block, until)
        while (event := self.poll()) is None and not self._writable and not self.lost:
            await self._wait(deadline)
        if event is None and self.lost:
            raise self._ended("LOST")
        return event

    async def secure(self, context: ssl.SSLContext, name: str | None) -> None:
        """TLS from here on; `name` is sent as SNI and, when the context checks certificates, checked. Raises OSError or
        ValueError (`name` is no name) and closes."""
        self.transport.pause_reading()  # what arrives from here on is the handshake's
        self.flush()
        try:
            secured = await self._loop.start_tls(
                self.transport,
                self,
                context,
                server_hostname=name,
                ssl_handshake_timeout=self.timeouts.handshake,
                ssl_shutdown_timeout=self.timeouts.quit,
            )
        except BaseException:
            self.lost = True  # nobody calls `connection_lost` then
            self._alarm.end()
            self.transport.abort()
            raise
        if secured is None or self.lost:  # the server went away during the handshake
            raise ConnectionResetError("the connection ended during the TLS handshake")
        self.transport = secured
        self.transport.set_write_buffer_limits(high=BLOCK)
        version, cipher = tls.described(secured) or ("", "")
        self.tls = f"{version.replace('TLSv', 'TLS ')} {cipher}"
        self.core.tls_started()

    async def leave(self) -> None:
        """Say QUIT, wait a moment for the answer, close."""
        if self.lost:
            return
        if self.core.closed or self.core.awaiting:
            self.abort()
            return
        try:
            self.core.quit()
            await self.event()
        except Ended:
            pass
        finally:
            if not self.lost:
                self.transport.close()

    def abort(self) -> None:
        """Close without a word, what is written and not sent yet included."""
        self.core.give_up("LOST", Answer(421, "4.4.2", ("the connection was given up",)))
        if not self.lost:
            self.transport.abort()

    def reply(self, stage: str, answer: Answer) -> Reply:
        """What the server said, or what stands for it, as the queue keeps it."""
        known, enhanced = _STAGES.get(stage, cast(Stage, stage)), enhanced_of(answer, stage)
        return self.said(known, answer.code, enhanced, answer.text, bare=not answer.enhanced)

    def said(self, stage: Stage, code: int, enhanced: str, text: str, *, bare: bool = False) -> Reply:
        return Reply(stage, code, enhanced, text[:MAX_TEXT], self.host, self.address, self.tls, bare)

    # Inside.

    def _ended(self, stage: Stage) -> Ended:
        what = _WAITED_FOR.get(self.core.awaiting, f"its answer to {self.core.awaiting}")
        if stage == "TIMEOUT":
            return Ended("TIMEOUT", f"{self.host} took too long: we waited for {what}")
        return Ended("LOST", f"the connection to {self.host} was lost while we waited for {what}{self._why}")

    async def _wait(self, deadline: float) -> None:
        """Until something happens. Raises Ended when the deadline has passed."""
        if self._loop.time() >= deadline:
            raise self._ended("TIMEOUT")
        waiter = self._waiter = self._loop.create_future()
        self._alarm.set(deadline)
        try:
            await waiter
        finally:
            self._waiter = None
            self._alarm.clear()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def shown_address(ip: str, port: int) -> str:
    """As replies and logs name it; the path of a Unix socket stays one."""
    if ip.startswith("/"):
        return ip
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def described(error: BaseException) -> str:
    """An error of the system or of TLS in few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError) or (isinstance(error, ConnectionError) and "is taking longer" in str(error)):
        return "timed out"  # what a handshake in the loop ends with is no TimeoutError
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ConnectionError):
        return "the connection was lost"
    return str(error) or type(error).__name__
