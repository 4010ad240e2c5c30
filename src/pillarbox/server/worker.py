"""A worker process, from the fork to its exit: its loop, its orders, its end. What it serves is an `Application`."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog
import uvloop

from pillarbox import cores
from pillarbox.access.ledger import Field, Ledger, Slot
from pillarbox.config import Settings

from . import control
from .hints import Sockets
from .listeners import Address
from .logging import SINK, configure
from .preparation import StartError, worker_count
from .privileges import RunAs, drop

log = structlog.get_logger()

TICK = 0.25  # seconds between two looks at how late the loop is
STALL = 0.05  # seconds: a lateness worth counting
_MAX_OVER = 60  # seconds that LOOP_LAG_MAX_US looks back, at least half of it
ORPHANED = 10.0  # seconds to drain when the supervisor is gone
SWITCH = 0.0005  # seconds that a busy loop keeps the interpreter from a thread that wants it
CLOSING = 5.0  # seconds for the store and threads to end, after the sessions


@dataclass(frozen=True, slots=True)
class Seat:
    """What the supervisor gives a worker. `shared` is whatever the application made before the fork."""

    slot: int
    index: int
    generation: int
    settings: Settings
    pem: bytes  # key and certificate chain, b"" without TLS
    ledger: Ledger
    hints: Sockets
    sockets: Sequence[tuple[Address, socket.socket]]
    user: RunAs | None
    started_at: float  # epoch seconds of the server's start
    shared: object = None
    clients: bytes = b""  # authorities of clients' certificates, see `certificates.KeyPair`
    tickets: bytes = b""  # the secret of `session_tickets`
    waits: bool = False  # once ready, for the order to begin: the rest of its generation may fail


class Application(Protocol):
    """What a worker runs. Made in the worker, on its loop."""

    async def start(self) -> None:
        """Make everything ready, and do nothing yet. An exception means that this worker cannot."""

    async def begin(self) -> None:
        """Serve the seat's sockets, and do what goes on behind them."""

    async def reload(self, settings: Settings, pem: bytes, clients: bytes, tickets: bytes) -> None:
        """Apply what can be applied while running; what is in use goes on as it is."""

    async def drain(self, patience: float, *, now: bool) -> int:
        """Take no connection any more, ask sessions to leave, and return when they have or `patience` seconds are
        over: how many are left. `now` hurries those who wait for their client. May be called again to hurry."""

    async def close(self) -> None:
        """Cut what is left and end everything."""


Build = Callable[[Seat, Slot], Application]


def run(seat: Seat, build: Build, supervisor: socket.socket) -> int:
    """Be a worker; the exit status. Called in the child right after the fork."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        # They reach the whole process group or control group; the supervisor alone decides and tells us.
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as name:
        name.write(f"pillarbox-w{seat.slot}")
    # The store's writer holds the lock of all workers while it waits for the interpreter after each statement.
    sys.setswitchinterval(SWITCH)
    gc.enable()
    gc.set_threshold(20_000, 20, 50)  # sessions are cycles, but short-lived objects are not worth a look each 700
    try:
        drop(seat.user)
        if seat.settings.worker_cores == "own":
            cores.keep_to_one(seat.index, worker_count(seat.settings))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_Worker(seat, build, supervisor).main())
    except StartError as error:  # a word to the operator; the supervisor passes it on
        control.report(supervisor, control.Report("failed", str(error)[:4000]))
        return 1
    except Exception as error:
        log.exception("Worker failed", worker=seat.index)
        control.report(supervisor, control.Report("failed", f"{type(error).__name__}: {error}"[:4000]))
        return 1


class _Worker:
    def __init__(self, seat: Seat, build: Build, supervisor: socket.socket) -> None:
        self._seat = seat
        self._slot = seat.ledger.attach(seat.slot)
        self._build = build
        self._supervisor = supervisor
        self._orders: asyncio.Queue[control.Order | None] = asyncio.Queue()
        self._drain: asyncio.Task[int] | None = None
        self._began = False

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_unhandled)
        application = self._build(self._seat, self._slot)
        await application.start()
        pulse = Pulse(loop, self._slot)
        loop.add_reader(self._supervisor.fileno(), self._read_orders)
        if not self._seat.waits:
            await self._begin(application)
        control.report(self._supervisor, control.Report("ready"))
        try:
            await self._obey(application)
        finally:
            self._slot.set(Field.READY, 0)
            try:
                async with asyncio.timeout(CLOSING):
                    await application.close()
            except TimeoutError:
                log.error("Worker did not close in time", worker=self._seat.index)
            loop.remove_reader(self._supervisor.fileno())
            pulse.stop()
        return 0

    async def _obey(self, application: Application) -> None:
        """Carry orders out until we were told to leave and nobody is left."""
        while True:
            waiting = asyncio.ensure_future(self._orders.get())
            tasks: set[asyncio.Future[object]] = {waiting}  # type: ignore[arg-type]  # only waited for
            if self._drain is not None:
                tasks.add(self._drain)  # type: ignore[arg-type]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._drain is not None and self._drain.done():
                waiting.cancel()
                left = self._drain.result()
                control.report(self._supervisor, control.Report("left", count=left))
                return
            order = await waiting
            if isinstance(order, control.Begin):
                await self._begin(application)
            elif isinstance(order, control.Reload):
                await self._reload(application, order)
            else:
                patience, now = (ORPHANED, True) if order is None else (order.patience, order.now)
                self._start_drain(application, patience, now=now)

    async def _begin(self, application: Application) -> None:
        if not self._began and self._drain is None:
            self._began = True
            await application.begin()
            self._slot.set(Field.READY, 1)

    async def _reload(self, application: Application, order: control.Reload) -> None:
        settings = order.settings
        configure(json=settings.log_format == "json", level=settings.log_level)
        SINK.replace_file(order.log_file)
        try:
            await application.reload(settings, order.pem, order.clients, order.tickets)
        except Exception:
            log.exception("Reload failed in a worker; it goes on as it was", worker=self._seat.index)

    def _start_drain(self, application: Application, patience: float, *, now: bool) -> None:
        if self._drain is not None:
            self._drain.cancel()  # the new order hurries the old one
        self._slot.set(Field.READY, 0)
        self._drain = asyncio.ensure_future(application.drain(patience, now=now))

    def _read_orders(self) -> None:
        while True:
            try:
                order = control.receive_order(self._supervisor)
            except BlockingIOError:
                return
            except OSError:
                order = None
            if order is None:
                asyncio.get_running_loop().remove_reader(self._supervisor.fileno())
                log.warning("The supervisor is gone; this worker ends", worker=self._seat.index)
            self._orders.put_nowait(order)
            if order is None:
                return


class Pulse:
    """Measures how late the loop is and leaves the time of its last beat in the ledger."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slot: Slot) -> None:
        self._loop = loop
        self._slot = slot
        self._worst = self._worst_before = 0
        self._since = loop.time()
        self._due = loop.time() + TICK
        self._timer = loop.call_at(self._due, self._beat)
        slot.set(Field.HEARTBEAT_MS, time.monotonic_ns() // 1_000_000)

    def _beat(self) -> None:
        now = self._loop.time()
        self.observe(max(0.0, now - self._due), now)
        self._due = now + TICK
        self._timer = self._loop.call_at(self._due, self._beat)

    def observe(self, late: float, now: float) -> None:
        """Note a lateness in seconds, at `now` of the loop's clock."""
        slot, lag = self._slot, int(late * 1e6)
        slot.set(Field.HEARTBEAT_MS, time.monotonic_ns() // 1_000_000)
        slot.set(Field.LOOP_LAG_US, lag)
        if late > STALL:
            slot.add(Field.LOOP_STALLS)
        if now - self._since > _MAX_OVER / 2:
            self._worst_before, self._worst, self._since = self._worst, 0, now
        self._worst = max(self._worst, lag)
        slot.set(Field.LOOP_LAG_MAX_US, max(self._worst, self._worst_before))

    def stop(self) -> None:
        self._timer.cancel()


def _unhandled(_: asyncio.AbstractEventLoop, about: dict[str, object]) -> None:
    error = about.get("exception")
    log.error(
        "Unhandled error in a worker",
        what=str(about.get("message", "")),
        exc_info=error if isinstance(error, BaseException) else None,
        pid=os.getpid(),
    )
