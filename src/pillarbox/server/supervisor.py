"""The supervisor: opens what needs opening, or takes it over from the program before, forks the workers and looks after
them until it is told to stop.

It speaks no protocol and has no loop, no thread and no database connection; it waits in `select` for signals and for
what its workers report, and looks around every second.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from pillarbox import __version__, cores
from pillarbox.access.ledger import SUPERVISOR, Slot
from pillarbox.access.ledger_carry import Carry
from pillarbox.config import Loaded, Settings

from . import worker
from .certificates import CertificateError, KeyPair
from .children import ChildFailed, in_child
from .commons import Commons
from .crew import Crew, Worker
from .inheritance import Inheritance, InheritanceError
from .listeners import ListenError, Listeners, wanted
from .lookout import Lookout
from .notify import Notifier
from .parts import Parts
from .preparation import (
    StartError,
    configure_log,
    find_user,
    load_pair,
    make_ready,
    raise_file_limit,
    say_settings,
    worker_count,
)
from .privileges import RunAs, owner_of
from .program import Program
from .renewal import Renewal
from .signals import Signals
from .staff import Staff
from .standing import Board, Standing, started
from .succession import adopt_workers, take_over
from .upgrade import Upgrade

log = structlog.get_logger()

STOP_PATIENCE = 9.0  # seconds that a stop gives to sessions, so that all of it takes no more than ten
STOP_GRACE = 3.0  # more seconds for a worker to close its store
LOOK = 1.0  # seconds between two looks around


class Supervisor:
    """`program` is how it can be started again, None when it cannot; `inheritance` is what the one before left."""

    commons: Commons
    crew: Crew
    own: Slot

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        *,
        load: Callable[[], Loaded],
        environ: MutableMapping[str, str],
        on_ready: Callable[[Mapping[str, int]], None] | None = None,
        program: Program | None = None,
        inheritance: Inheritance | None = None,
    ) -> None:
        self.settings = settings
        self._parts = parts
        self._environ = environ
        self._on_ready = on_ready
        self._inheritance = inheritance
        self._user: RunAs | None = None
        self.notifier = Notifier(environ)
        self.clock = time.monotonic
        self.pair: KeyPair | None = None
        self.generation = 1
        self.size = worker_count(settings)
        self.renewal = Renewal(self, load)
        self.upgrade = Upgrade(self, program)
        self.carries: list[Carry] = []
        self._board = Board(settings.runtime_dir)
        self.staff = Staff(self)
        self.was_ready = False
        self._stopping = 0.0  # when to give up waiting; 0 while running
        self._failed = False
        self._next_look = 0.0

    @property
    def stopping(self) -> bool:
        return self._stopping > 0

    def run(self) -> int:
        """Start, serve until SIGTERM or SIGINT, stop. The exit status."""
        try:
            if self._inheritance is None:
                self._start()
            else:
                self._succeed(self._inheritance)
        except (StartError, ListenError, CertificateError, ChildFailed, InheritanceError) as error:
            log.critical(str(error))
            return 1
        except KeyboardInterrupt:
            return 130
        try:
            self._serve()
        finally:
            for some in self.crew.workers:  # only when something of ours failed
                with suppress(ProcessLookupError):
                    os.kill(some.pid, signal.SIGKILL)
            self.commons.listeners.close()
            self._board.remove()
        return self._end()

    # Starting

    def _start(self) -> None:
        configure_log(self.settings)
        settings = self.settings
        log.info("=== SMTP Server Starting ===", version=__version__, pid=os.getpid())
        say_settings(settings)
        self._user, self.pair = make_ready(settings)
        listeners = Listeners(owner_of(self._user))
        listeners.adopt(self._environ)
        try:
            listeners.extend(wanted(settings))
            for name in listeners.unused():
                log.warning("systemd passed a socket that no setting asks for", socket=name)
            log.info(f"Initializing database at: {settings.store}")
            in_child(lambda: self._parts.prepare(settings), self._user)
        except BaseException:
            listeners.close()
            raise
        self.commons = Commons.found(listeners, settings, self.size, self._parts.share)
        self.own = self.commons.ledger.attach(SUPERVISOR)
        self._settle_in()
        log.info(f"Starting {self.size} worker(s)", configured=settings.worker_threads, cpus=cores.usable())
        for index in range(self.size):
            self.staff.hire(self.generation, index)

    def _succeed(self, inheritance: Inheritance) -> None:
        """In the place of another program, which was this process until now."""
        made, left = inheritance.made, inheritance.left
        assert left is not None
        configure_log(self.settings)
        log.info("=== SMTP Server Taking Over ===", version=__version__, before=left.version, pid=os.getpid())
        say_settings(self.settings)
        self._user = find_user(self.settings.user)
        raise_file_limit()
        found = inheritance.settled()
        self.pair = found[1] if found else load_pair(self.settings)
        self.generation, self.size = made.generation, made.size
        self.commons = Commons.inherit(made.estate, owner_of(self._user), self.settings, self.size, self._parts.share)
        self.carries = take_over(self, self.commons, inheritance)
        self.renewal.count = left.reloads
        self._settle_in()
        adopt_workers(self, inheritance, self.carries)
        for someone in self.crew.workers:
            self.listen_to(someone)
        self.was_ready = True
        self.commons.listeners.say()
        self.upgrade.succeeded(left)
        self.notifier.ready(f"{self.size} workers")

    def _settle_in(self) -> None:
        self.crew = Crew(self.commons.ledger, self.own, self._be_worker, self.clock)
        self._lookout = Lookout(self.own, self.notifier)
        self._lookout.look(self.settings, self.pair, ())
        self._signals = Signals()
        self._selector = selectors.DefaultSelector()
        self.watch(self._signals, self._take_signals)
        log.info("Signal handlers installed (SIGTERM, SIGINT: graceful shutdown; SIGHUP: reload; SIGUSR2: upgrade)")
        gc.collect()
        gc.freeze()

    def watch(self, what: Any, callback: Callable[[], None]) -> None:
        """Call back whenever this descriptor is readable."""
        self._selector.register(what, selectors.EVENT_READ, callback)

    def unwatch(self, what: Any) -> None:
        with suppress(KeyError, ValueError, OSError):
            self._selector.unregister(what)

    def say_standing(self) -> None:
        """To the file in the runtime folder."""
        self._board.write(
            Standing(
                pid=os.getpid(),
                started=started(os.getpid()),
                version=__version__,
                workers=self.size,
                upgrade=self.upgrade.attempt,
            )
        )

    def listen_to(self, someone: Worker) -> None:
        """To what a worker reports."""
        self.watch(someone.orders, partial(self._hear, someone))

    def _be_worker(self, slot: int, generation: int, index: int, orders: socket.socket) -> int:
        """In the child."""
        self._selector.close()
        self._signals.forget()
        self.upgrade.forget()
        settings, pair, size = self.settings, self.pair, self.size
        coming = self.renewal.coming
        waits = coming is not None and coming.generation == generation
        if coming is not None and waits:
            settings, pair, size = coming.settings, coming.pair, coming.size
        seat = self.commons.seat(slot, generation, index, size, settings, pair, self._user, waits=waits)
        return worker.run(seat, self._parts.build, orders)

    # Running

    def _serve(self) -> None:
        while not self._stopping or self.crew.workers or self._waits_for_trial():
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self.staff.look_after()
            self.upgrade.check()
            now = self.clock()
            if now >= self._next_look:
                self._next_look = now + LOOK
                self._look_around()

    def _waits_for_trial(self) -> bool:
        """One that was killed may still have the database open for a moment."""
        return self.upgrade.leaving and self.clock() < self._stopping + STOP_GRACE

    def _patience(self) -> float:
        """Seconds until something is due."""
        now = self.clock()
        return max(0.0, min(1.0, min([self._next_look, *self.staff.due()]) - now))

    def _take_signals(self) -> None:
        numbers = self._signals.take()
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self._stop()
        if self._stopping:
            return
        if signal.SIGUSR2 in numbers:
            self.upgrade.begin()
        if signal.SIGHUP in numbers:
            if self.upgrade.under_way:
                self.upgrade.reload_later()
            else:
                self.renewal.begin()

    def _hear(self, someone: Worker) -> None:
        self.crew.hear(someone)
        if someone.ready:
            log.debug("Worker ready", worker=someone.index, pid=someone.pid)
        self.unwatch(someone.orders)  # nothing but its end comes after that, and SIGCHLD tells it
        self._check_ready()

    def _check_ready(self) -> None:
        self.renewal.check()
        workers = self.crew.of(self.generation)
        if self.was_ready or len(workers) != self.size or not all(worker.ready for worker in workers):
            return
        self.was_ready = True
        self.commons.listeners.say()
        self.say_standing()
        self.notifier.ready(f"{self.size} workers")
        if self._on_ready is not None:
            try:
                self._on_ready(self.commons.listeners.ports())
            except OSError as error:  # nobody reads what it prints
                log.warning("Nobody could be told that the server is ready", error=str(error))

    def _look_around(self) -> None:
        """Once a second."""
        self._lookout.look(self.settings, self.pair, self.crew.workers)
        self.renewal.check()
        for carry in list(self.carries):
            slots = [someone.slot for someone in self.crew.workers if someone.counts is carry.source]
            carry.bring(slots)
            if not slots:
                self.carries.remove(carry)  # that was the last of it

    # Stopping

    def give_up(self) -> None:
        """Stop, and say by the exit status that it failed."""
        self._failed = True
        self._stop()

    def _stop(self) -> None:
        again = bool(self._stopping)
        if not again:
            log.info("Server shutting down gracefully...")
            self.notifier.stopping()
            self.upgrade.abandon("the server stops")
        patience = 0.0 if again else STOP_PATIENCE  # asked twice: at once
        self._stopping = self.clock() + patience
        self.staff.hire_no_more()
        for someone in self.crew.workers:
            self.crew.dismiss(someone, patience, now=True, grace=STOP_GRACE)
        self.commons.listeners.close()

    def _end(self) -> int:
        with suppress(ChildFailed):
            in_child(lambda: self._parts.conclude(self.settings), self._user)
        if self.staff.left:
            log.warning(f"Shutdown timeout: {self.staff.left} connections still active")
        else:
            log.info("All connections closed gracefully")
        log.info("=== SMTP Server Shutdown Complete ===")
        return int(self._failed)
