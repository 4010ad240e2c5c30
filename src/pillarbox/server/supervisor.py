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
from pathlib import Path

import structlog

from pillarbox import __version__
from pillarbox.access.ledger import SUPERVISOR, Field, Ledger
from pillarbox.config import Loaded, Settings

from . import certificates, control, logging, reload, worker
from .certificates import CertificateError, KeyPair
from .children import ChildFailed, in_child
from .crew import Backoff, Crew, NoSlot, Worker
from .hints import Sockets
from .listeners import ListenError, Listeners, wanted
from .notify import Notifier
from .preparation import (
    StartError,
    configure_log,
    find_user,
    load_pair,
    raise_file_limit,
    say_settings,
    worker_count,
)
from .privileges import RunAs

log = structlog.get_logger()

STOP_PATIENCE = 10.0  # seconds that a stop gives to sessions
STOP_GRACE = 3.0  # more seconds for a worker to close its store
OLD_PATIENCE = 300.0  # seconds that a reload gives to the sessions of replaced workers
START_PATIENCE = 60.0  # seconds for new workers to become ready in a reload
LOOK = 1.0  # seconds between two looks around
HUNG = 120.0  # seconds without a beat of its loop after which a worker is killed
START_TRIES = 3  # deaths at start that end a server which was never ready
MAINTENANCE_FILE = "maintenance"  # in the runtime folder: while it is there, new SMTP connections get 421


@dataclass(frozen=True, slots=True)
class Parts:
    """What the supervisor starts and does not know itself, so that tests can give others.

    `build` makes the application of a worker. `prepare` runs in a child before the workers (migrations) and returns
    lines for the log; `conclude` runs in a child after the last of them. `shared` is made once, before the first
    fork, and given to every worker.
    """

    build: worker.Build
    prepare: Callable[[Settings], list[str]] = lambda _: []
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
        self._load = load
        self._environ = environ
        self._on_ready = on_ready
        self._user_name = user
        self._user: RunAs | None = None
        self._notifier = Notifier(environ)
        self._clock = time.monotonic
        self._started_at = time.time()
        self._pair: KeyPair | None = None
        self._generation = 1
        self._size = worker_count(settings)
        self._coming: tuple[int, int, Settings, KeyPair | None, float] | None = None  # a generation not ready yet
        self._vacant: list[tuple[float, int, int]] = []  # when, generation, index: workers to be replaced
        self._backoff = Backoff()
        self._was_ready = False
        self._stopping = 0.0  # when to give up waiting; 0 while running
        self._failed = False
        self._next_beat = 0.0
        self._next_look = 0.0
        self._warned_day = -1
        self._reloads = 0
        self._left = 0  # connections that had to be cut

    def run(self) -> int:
        """Start, serve until SIGTERM or SIGINT, stop. The exit status."""
        try:
            self._start()
        except (StartError, ListenError, CertificateError, ChildFailed) as error:
            log.critical(str(error))
            return 1
        try:
            self._serve()
        finally:
            for some in self._crew.workers:  # only when something of ours failed
                with suppress(ProcessLookupError):
                    os.kill(some.pid, signal.SIGKILL)
            self._listeners.close()
        return self._end()

    # Starting

    def _start(self) -> None:
        configure_log(self.settings)
        settings = self.settings
        log.info("=== SMTP Server Starting ===", version=__version__, pid=os.getpid())
        say_settings(settings)
        self._user = find_user(self._user_name)
        raise_file_limit()
        self._pair = load_pair(settings)
        owner = (self._user.uid, self._user.gid) if self._user else None
        self._listeners = Listeners(owner)
        self._listeners.adopt(self._environ)
        try:
            self._listeners.extend(wanted(settings), self._size)
            for name in self._listeners.unused():
                log.warning("systemd passed a socket that no setting asks for", socket=name)
            log.info(f"Initializing database at: {settings.db_path}")
            for line in in_child(lambda: self._parts.prepare(settings), self._user):
                log.info(line)
        except BaseException:
            self._listeners.close()
            raise
        cpus = len(os.sched_getaffinity(0))
        self._ledger = Ledger(2 * max(cpus, self._size) + 2, connection_entries=4 * settings.max_connections)
        self._own = self._ledger.attach(SUPERVISOR)
        self._hints = Sockets(self._ledger.slots)
        self._shared = self._parts.shared()
        self._crew = Crew(self._ledger, self._own, self._be_worker, self._clock)
        self._note_certificate()
        self._look_for_maintenance()
        self._install_signals()
        gc.collect()
        gc.freeze()
        log.info(f"Starting {self._size} worker(s)", configured=settings.worker_threads, cpus=cpus)
        for index in range(self._size):
            self._hire(self._generation, index)

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

    def _hire(self, generation: int, index: int) -> None:
        try:
            someone = self._crew.hire(generation, index)
        except (NoSlot, OSError) as error:
            log.error("No worker can be started now", worker=index, error=str(error) or "no slot is free")
            self._vacant.append((self._clock() + 1.0, generation, index))
            return
        self._selector.register(someone.orders, selectors.EVENT_READ, someone)
        log.debug("Worker started", worker=index, pid=someone.pid, generation=generation)

    def _be_worker(self, slot: int, generation: int, index: int, orders: socket.socket) -> int:
        """In the child."""
        self._selector.close()
        signal.set_wakeup_fd(-1)
        os.close(self._wakeup)
        os.close(self._wakeup_writer)
        settings, pair, size = self.settings, self._pair, self._size
        if self._coming is not None and self._coming[0] == generation:
            _, size, settings, pair, _ = self._coming
        asked = set(wanted(settings))  # not the listeners that this reload takes away
        mine = [(address, sock) for address, sock in self._listeners.share(index, size) if address in asked]
        served = {id(sock) for _, sock in mine}
        for listener in self._listeners.by_address.values():
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
        )
        return worker.run(seat, self._parts.build, orders)

    # Running

    def _serve(self) -> None:
        while not self._stopping or self._crew.workers:
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    self._take_signals()
                else:
                    self._hear(key.data)
            self._look_after_workers()
            now = self._clock()
            if now >= self._next_look:
                self._next_look = now + LOOK
                self._look_around()

    def _patience(self) -> float:
        """Seconds until something is due."""
        now = self._clock()
        due = [self._next_look, *(when for when, _, _ in self._vacant)]
        due += [w.deadline for w in self._crew.workers if w.asked]
        return max(0.0, min(1.0, min(due) - now))

    def _take_signals(self) -> None:
        try:
            numbers = set(os.read(self._wakeup, 4096))
        except BlockingIOError:
            return
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self._stop()
        elif signal.SIGHUP in numbers and not self._stopping:
            self._reload()

    def _hear(self, someone: Worker) -> None:
        self._crew.hear(someone)
        if someone.ready:
            log.debug("Worker ready", worker=someone.index, pid=someone.pid)
        with suppress(OSError, KeyError):
            # Nothing but its end comes after that, and SIGCHLD tells it.
            self._selector.unregister(someone.orders)
        self._check_ready()

    def _check_ready(self) -> None:
        if self._coming is not None:
            if _all_ready(self._crew.of(self._coming[0]), self._coming[1]):
                self._promote()
        elif not self._was_ready and _all_ready(self._crew.of(self._generation), self._size):
            self._was_ready = True
            for listener in self._listeners.by_address.values():
                log.info(f"{_NAMES[listener.address.role]} Server listening on {listener}")
            self._notifier.ready(f"{self._size} workers")
            if self._on_ready is not None:
                self._on_ready(self._listeners.ports())

    def _look_after_workers(self) -> None:
        fds = {w: w.orders.fileno() for w in self._crew.workers}
        for someone, how in self._crew.reap():
            with suppress(KeyError, ValueError):
                self._selector.unregister(fds[someone])
            self._ended(someone, how)
        self._crew.kill_late()
        now = self._clock()
        due = [vacancy for vacancy in self._vacant if vacancy[0] <= now]
        self._vacant = [vacancy for vacancy in self._vacant if vacancy[0] > now]
        for _, generation, index in due:
            if not self._stopping and generation in self._living_generations():
                self._hire(generation, index)

    def _living_generations(self) -> set[int]:
        return {self._generation} | ({self._coming[0]} if self._coming else set())

    def _ended(self, someone: Worker, how: str) -> None:
        if someone.asked:
            self._left += someone.left
            log.debug("Worker ended", worker=someone.index, pid=someone.pid, how=how)
            return
        self._own.add(Field.WORKERS_DIED)
        reason = {"reason": someone.failure} if someone.failure else {}
        log.error("Worker died", worker=someone.index, pid=someone.pid, how=how, **reason)
        if self._stopping:
            return
        if self._coming is not None and someone.generation == self._coming[0]:
            self._abandon(f"a new worker died ({someone.failure or how})")
            return
        served = None if someone.ready_since is None else self._clock() - someone.ready_since
        wait = self._backoff.died(someone.index, served=served)
        if not self._was_ready and self._backoff.deaths(someone.index) >= START_TRIES:
            log.critical("The workers cannot start", **reason)
            self._failed = True
            self._stop()
            return
        if wait:
            log.warning(f"Worker {someone.index} is started again in {wait:.1f} s")
            self._vacant.append((self._clock() + wait, someone.generation, someone.index))
        else:
            self._hire(someone.generation, someone.index)

    def _look_around(self) -> None:
        """Once a second: maintenance, hung workers, the certificate's end, systemd's watchdog."""
        self._look_for_maintenance()
        beat = time.monotonic_ns() // 1_000_000
        healthy = True
        for someone in self._crew.workers:
            silent = (beat - self._ledger.value(someone.slot, Field.HEARTBEAT_MS)) / 1000
            if someone.ready and silent > HUNG / 4:
                healthy = False
            if someone.ready and silent > HUNG and not someone.asked:
                log.error("Worker hangs and is killed", worker=someone.index, pid=someone.pid, seconds=int(silent))
                with suppress(ProcessLookupError):
                    os.kill(someone.pid, signal.SIGKILL)
        if self._coming is not None and self._clock() > self._coming[4]:
            self._abandon(f"the new workers were not ready within {START_PATIENCE:.0f} s")
        self._note_certificate()
        if self._notifier.watchdog and healthy and self._clock() >= self._next_beat:
            self._next_beat = self._clock() + max(0.5, self._notifier.watchdog / 2 - 1.0)
            self._notifier.alive()

    def _look_for_maintenance(self) -> None:
        asked = self.settings.maintenance or Path(self.settings.runtime_dir, MAINTENANCE_FILE).exists()
        if asked != bool(self._own.get(Field.MAINTENANCE)):
            self._own.set(Field.MAINTENANCE, int(asked))
            log.warning("Maintenance mode: new SMTP connections get 421" if asked else "Maintenance mode is over")

    def _note_certificate(self) -> None:
        """Say once a day when the certificate ends soon."""
        if self._pair is None:
            return
        self._own.set(Field.CERTIFICATE_ENDS, self._pair.not_after)
        day = int(time.time()) // certificates.DAY
        if day == self._warned_day:
            return
        self._warned_day = day
        left = certificates.days_left(self._pair.not_after, time.time())
        if left < certificates.WARN_DAYS:
            log.warning(f"The TLS certificate ends in {left} days" if left >= 0 else "The TLS certificate has ended")

    # Reloading

    def _reload(self) -> None:
        self._notifier.reloading()
        log.info("=== Configuration Hot Reload Started ===")
        try:
            self._try_reload()
        except (ListenError, CertificateError, StartError) as error:
            log.error(f"Configuration Hot Reload Failed, nothing was changed: {error}")
            self._notifier.ready("reload failed, see the log")

    def _try_reload(self) -> None:
        loaded = self._load()
        for problem in loaded.errors:
            log.error(f"Configuration Error: {problem}")
        if loaded.errors:
            raise StartError(f"{len(loaded.errors)} error(s) in the configuration")
        if self._coming is not None:
            self._abandon("another reload came")
        new = loaded.settings
        found = reload.changes(self.settings, new)
        pair = load_pair(new)
        for change in found:
            log.info(str(change))
        for warning in loaded.warnings:
            log.warning(f"Configuration Warning: {warning}")
        new = reload.effective(self.settings, new, found)
        same_sockets = wanted(new) == wanted(self.settings) and worker_count(new) == self._size
        if not same_sockets or new.enable_tls != self.settings.enable_tls:
            self._bring_new_workers(new, pair)
            return
        self._adopt(new, pair)
        for someone in self._crew.workers:
            if not control.order(someone.orders, control.Reload(new, pair.pem if pair else b""), logging.SINK.file):
                log.error("A worker could not be told of the reload", worker=someone.index, pid=someone.pid)
        self._say_reloaded()

    def _adopt(self, settings: Settings, pair: KeyPair | None) -> None:
        """From now on these are ours."""
        self.settings, self._pair = settings, pair
        self._warned_day = -1
        configure_log(settings)

    def _say_reloaded(self) -> None:
        self._reloads += 1
        self._own.add(Field.RELOADS)
        log.info(f"=== Configuration Hot Reload Complete (#{self._reloads}) ===")
        self._notifier.ready(f"{self._size} workers")

    def _bring_new_workers(self, settings: Settings, pair: KeyPair | None) -> None:
        size = worker_count(settings)
        self._listeners.extend(wanted(settings), size)
        generation = max([self._generation, *(w.generation for w in self._crew.workers)]) + 1
        free = self._ledger.slots - 1 - len(self._crew.workers)
        for someone in sorted(self._crew.workers, key=lambda w: w.generation):
            if free < size and someone.generation != self._generation:
                self._crew.dismiss(someone, 0.0, now=True, grace=0.0)  # the oldest make room
                free += 1
        log.info(f"Starting {size} new worker(s); the running ones go on until they are ready")
        self._coming = (generation, size, settings, pair, self._clock() + START_PATIENCE)
        for index in range(size):
            self._hire(generation, index)

    def _promote(self) -> None:
        """The new generation is ready: the old one may leave."""
        assert self._coming is not None
        generation, size, settings, pair, _ = self._coming
        old = self._crew.of(self._generation)
        self._coming = None
        self._generation, self._size = generation, size
        self._vacant = [v for v in self._vacant if v[1] == generation]
        self._backoff.clear()
        self._adopt(settings, pair)
        patience = max(OLD_PATIENCE, settings.data_timeout_seconds + 60.0)
        for someone in old:
            self._crew.dismiss(someone, patience, now=False, grace=STOP_GRACE)
        self._listeners.keep(wanted(settings))
        for listener in self._listeners.by_address.values():
            log.info(f"{_NAMES[listener.address.role]} Server listening on {listener}")
        self._say_reloaded()

    def _abandon(self, why: str) -> None:
        """Give the new generation up; the old one never noticed."""
        assert self._coming is not None
        generation = self._coming[0]
        self._coming = None
        self._vacant = [v for v in self._vacant if v[1] != generation]
        for someone in self._crew.of(generation):
            self._crew.dismiss(someone, 0.0, now=True, grace=1.0)
        self._listeners.keep(wanted(self.settings))
        log.error(f"Configuration Hot Reload Failed, the old workers go on: {why}")
        self._notifier.ready("reload failed, see the log")

    # Stopping

    def _stop(self) -> None:
        again = bool(self._stopping)
        if not again:
            log.info("Server shutting down gracefully...")
            self._notifier.stopping()
        patience = 0.0 if again else STOP_PATIENCE  # asked twice: at once
        self._stopping = self._clock() + patience
        self._vacant.clear()
        for someone in self._crew.workers:
            self._crew.dismiss(someone, patience, now=True, grace=STOP_GRACE)
        self._listeners.close()

    def _end(self) -> int:
        with suppress(ChildFailed):
            in_child(lambda: self._parts.conclude(self.settings), self._user)
        if self._left:
            log.warning(f"Shutdown timeout: {self._left} connections still active")
        else:
            log.info("All connections closed gracefully")
        log.info("=== SMTP Server Shutdown Complete ===")
        return int(self._failed)


_NAMES = {"smtp": "SMTP", "lmtp": "LMTP", "imap": "IMAP", "imaps": "IMAPS", "api": "API", "health": "Health"}


def _all_ready(workers: list[Worker], size: int) -> bool:
    return len(workers) == size and all(worker.ready for worker in workers)
