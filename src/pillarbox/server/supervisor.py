"""The supervisor: opens what needs opening, forks the workers and looks after them until it is told to stop.

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
from dataclasses import dataclass

import structlog

from pillarbox import __version__
from pillarbox.access.ledger import SUPERVISOR, Field, Ledger
from pillarbox.config import Loaded, Settings

from . import worker
from .certificates import CertificateError, KeyPair
from .children import ChildFailed, in_child
from .crew import Backoff, Crew, NoSlot, Worker
from .hints import Sockets
from .listeners import ListenError, Listeners, wanted
from .lookout import Lookout
from .notify import Notifier
from .preparation import (
    DATABASE,
    RUNTIME,
    StartError,
    check_folders,
    check_writable,
    configure_log,
    find_user,
    load_pair,
    raise_file_limit,
    say_settings,
    worker_count,
)
from .privileges import RunAs
from .renewal import Renewal

log = structlog.get_logger()

STOP_PATIENCE = 9.0  # seconds that a stop gives to sessions, so that all of it takes no more than ten
STOP_GRACE = 3.0  # more seconds for a worker to close its store
LOOK = 1.0  # seconds between two looks around
START_TRIES = 3  # deaths at start that end a server which was never ready


@dataclass(frozen=True, slots=True)
class Parts:
    """What the supervisor starts and does not know itself, so that tests can give others.

    `build` makes the application of a worker. `prepare` runs in a child before the workers (migrations), `conclude` in
    one after the last of them. `shared` is made once, before the first fork, and given to every worker.
    """

    build: worker.Build
    prepare: Callable[[Settings], None] = lambda _: None
    conclude: Callable[[Settings], None] = lambda _: None
    shared: Callable[[], object] = lambda: None


class Supervisor:
    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        *,
        load: Callable[[], Loaded],
        environ: MutableMapping[str, str],
        on_ready: Callable[[Mapping[str, int]], None] | None = None,
        user: str | None = None,
    ) -> None:
        self.settings = settings
        self._parts = parts
        self._environ = environ
        self._on_ready = on_ready
        self._user_name = user
        self._user: RunAs | None = None
        self.notifier = Notifier(environ)
        self.clock = time.monotonic
        self._started_at = time.time()
        self.pair: KeyPair | None = None
        self.generation = 1
        self.size = worker_count(settings)
        self.renewal = Renewal(self, load)
        self._vacant: list[tuple[float, int, int]] = []  # when, generation, index: workers to be replaced
        self._backoff = Backoff()
        self._was_ready = False
        self._stopping = 0.0  # when to give up waiting; 0 while running
        self._failed = False
        self._next_look = 0.0
        self._left = 0  # connections that had to be cut

    def run(self) -> int:
        """Start, serve until SIGTERM or SIGINT, stop. The exit status."""
        try:
            self._start()
        except (StartError, ListenError, CertificateError, ChildFailed) as error:
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
            self.listeners.close()
        return self._end()

    # Starting

    def _start(self) -> None:
        configure_log(self.settings)
        settings = self.settings
        log.info("=== SMTP Server Starting ===", version=__version__, pid=os.getpid())
        say_settings(settings)
        self._user = find_user(self._user_name)
        raise_file_limit()
        check_folders(settings)
        if self._user is None:
            check_writable(settings, DATABASE, RUNTIME)  # else the workers' account is asked, in `prepare`
        self.pair = load_pair(settings)
        owner = (self._user.uid, self._user.gid) if self._user else None
        self.listeners = Listeners(owner)
        self.listeners.adopt(self._environ)
        try:
            self.listeners.extend(wanted(settings), self.size)
            for name in self.listeners.unused():
                log.warning("systemd passed a socket that no setting asks for", socket=name)
            log.info(f"Initializing database at: {settings.db_path}")
            in_child(lambda: self._parts.prepare(settings), self._user)
        except BaseException:
            self.listeners.close()
            raise
        cpus = len(os.sched_getaffinity(0))
        self._ledger = Ledger(2 * max(cpus, self.size) + 2, connection_entries=4 * settings.max_connections)
        self.own = self._ledger.attach(SUPERVISOR)
        self._hints = Sockets(self._ledger.slots)
        self._shared = self._parts.shared()
        self.crew = Crew(self._ledger, self.own, self._be_worker, self.clock)
        self._lookout = Lookout(self.own, self.notifier)
        self._lookout.look(settings, self.pair, ())
        self._install_signals()
        gc.collect()
        gc.freeze()
        log.info(f"Starting {self.size} worker(s)", configured=settings.worker_threads, cpus=cpus)
        for index in range(self.size):
            self.hire(self.generation, index)

    def _install_signals(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._wakeup, self._wakeup_writer = reader, writer
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._selector = selectors.DefaultSelector()
        self._selector.register(reader, selectors.EVENT_READ, None)
        log.info("Signal handlers installed (SIGTERM, SIGINT: graceful shutdown; SIGHUP: reload)")

    def hire(self, generation: int, index: int) -> None:
        try:
            someone = self.crew.hire(generation, index)
        except (NoSlot, OSError) as error:
            log.error("No worker can be started now", worker=index, error=str(error) or "no slot is free")
            self._vacant.append((self.clock() + 1.0, generation, index))
            return
        self._selector.register(someone.orders, selectors.EVENT_READ, someone)
        log.debug("Worker started", worker=index, pid=someone.pid, generation=generation)

    def _be_worker(self, slot: int, generation: int, index: int, orders: socket.socket) -> int:
        """In the child."""
        self._selector.close()
        signal.set_wakeup_fd(-1)
        os.close(self._wakeup)
        os.close(self._wakeup_writer)
        settings, pair, size = self.settings, self.pair, self.size
        coming = self.renewal.coming
        waits = coming is not None and coming.generation == generation
        if coming is not None and waits:
            settings, pair, size = coming.settings, coming.pair, coming.size
        asked = set(wanted(settings))  # not the listeners that this reload takes away
        mine = [(address, sock) for address, sock in self.listeners.share(index, size) if address in asked]
        served = {id(sock) for _, sock in mine}
        for listener in self.listeners.by_address.values():
            for sock in listener.sockets:
                if id(sock) not in served:
                    sock.close()  # or they would outlive the supervisor's
        seat = worker.Seat(
            slot=slot,
            index=index,
            generation=generation,
            settings=settings,
            pem=pair.pem if pair else b"",
            ledger=self._ledger,
            hints=self._hints,
            sockets=mine,
            user=self._user,
            started_at=self._started_at,
            shared=self._shared,
            waits=waits,
        )
        return worker.run(seat, self._parts.build, orders)

    # Running

    def _serve(self) -> None:
        while not self._stopping or self.crew.workers:
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    self._take_signals()
                else:
                    self._hear(key.data)
            self._look_after_workers()
            now = self.clock()
            if now >= self._next_look:
                self._next_look = now + LOOK
                self._look_around()

    def _patience(self) -> float:
        """Seconds until something is due."""
        now = self.clock()
        due = [self._next_look, *(when for when, _, _ in self._vacant)]
        due += [w.deadline for w in self.crew.workers if w.asked]
        return max(0.0, min(1.0, min(due) - now))

    def _take_signals(self) -> None:
        try:
            numbers = set(os.read(self._wakeup, 4096))
        except BlockingIOError:
            return
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self._stop()
        elif signal.SIGHUP in numbers and not self._stopping:
            self.renewal.begin()

    def _hear(self, someone: Worker) -> None:
        self.crew.hear(someone)
        if someone.ready:
            log.debug("Worker ready", worker=someone.index, pid=someone.pid)
        with suppress(OSError, KeyError):
            # Nothing but its end comes after that, and SIGCHLD tells it.
            self._selector.unregister(someone.orders)
        self._check_ready()

    def _check_ready(self) -> None:
        self.renewal.check()
        workers = self.crew.of(self.generation)
        if self._was_ready or len(workers) != self.size or not all(worker.ready for worker in workers):
            return
        self._was_ready = True
        self.listeners.say()
        self.notifier.ready(f"{self.size} workers")
        if self._on_ready is not None:
            try:
                self._on_ready(self.listeners.ports())
            except OSError as error:  # nobody reads what it prints
                log.warning("Nobody could be told that the server is ready", error=str(error))

    def _look_after_workers(self) -> None:
        watched = {worker: worker.orders.fileno() for worker in self.crew.workers}
        gone = self.crew.reap()
        for someone, _ in gone:  # all of them before a new one gets one of their descriptors
            with suppress(KeyError, ValueError):
                self._selector.unregister(watched[someone])
        for someone, how in gone:
            self._ended(someone, how)
        self.crew.kill_late()
        now = self.clock()
        due = [vacancy for vacancy in self._vacant if vacancy[0] <= now]
        self._vacant = [vacancy for vacancy in self._vacant if vacancy[0] > now]
        for _, generation, index in due:
            if not self._stopping and generation in self._living_generations():
                self.hire(generation, index)

    def _living_generations(self) -> set[int]:
        coming = self.renewal.coming
        return {self.generation} | ({coming.generation} if coming else set())

    def _ended(self, someone: Worker, how: str) -> None:
        if someone.asked:
            self._left += someone.left
            log.debug("Worker ended", worker=someone.index, pid=someone.pid, how=how)
            return
        self.own.add(Field.WORKERS_DIED)
        reason = {"reason": someone.failure} if someone.failure else {}
        log.error("Worker died", worker=someone.index, pid=someone.pid, how=how, **reason)
        if self._stopping:
            return
        if someone.generation != self.generation:
            self.renewal.abandon(f"a new worker died ({someone.failure or how})")
            return
        served = None if someone.ready_since is None else self.clock() - someone.ready_since
        wait = self._backoff.died(someone.index, served=served)
        if not self._was_ready and self._backoff.deaths(someone.index) >= START_TRIES:
            log.critical("The workers cannot start", **reason)
            self._failed = True
            self._stop()
            return
        if wait:
            log.warning(f"Worker {someone.index} is started again in {wait:.1f} s")
            self._vacant.append((self.clock() + wait, someone.generation, someone.index))
        else:
            self.hire(someone.generation, someone.index)

    def _look_around(self) -> None:
        """Once a second."""
        self._lookout.look(self.settings, self.pair, self.crew.workers)
        self.renewal.check()

    # Stopping

    def _stop(self) -> None:
        again = bool(self._stopping)
        if not again:
            log.info("Server shutting down gracefully...")
            self.notifier.stopping()
        patience = 0.0 if again else STOP_PATIENCE  # asked twice: at once
        self._stopping = self.clock() + patience
        self._vacant.clear()
        for someone in self.crew.workers:
            self.crew.dismiss(someone, patience, now=True, grace=STOP_GRACE)
        self.listeners.close()

    def _end(self) -> int:
        with suppress(ChildFailed):
            in_child(lambda: self._parts.conclude(self.settings), self._user)
        if self._left:
            log.warning(f"Shutdown timeout: {self._left} connections still active")
        else:
            log.info("All connections closed gracefully")
        log.info("=== SMTP Server Shutdown Complete ===")
        return int(self._failed)
