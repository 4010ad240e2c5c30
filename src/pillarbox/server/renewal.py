"""What SIGHUP does: new settings and certificates in the running workers, or new workers where it takes those.

New workers are a new generation. It gets the same listening sockets, and only when all of it is ready does the old
generation stop listening and drain; if it does not become ready, nobody noticed anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from pillarbox.access.ledger import Field
from pillarbox.config import Loaded, Settings

from . import control, logging, reload
from .certificates import CertificateError, KeyPair
from .listeners import ListenError, wanted
from .preparation import StartError, configure_log, load_pair, worker_count

if TYPE_CHECKING:
    from .supervisor import Supervisor

log = structlog.get_logger()

OLD_PATIENCE = 300.0  # seconds that the sessions of replaced workers have, at least
OLD_GRACE = 3.0  # more seconds for such a worker to close its store
START_PATIENCE = 60.0  # seconds for new workers to become ready


@dataclass(frozen=True, slots=True)
class Coming:
    """A new generation of `size` workers that are not all ready yet, and what becomes true when they are."""

    generation: int
    size: int
    settings: Settings
    pair: KeyPair | None
    deadline: float  # of the supervisor's clock: then it is given up


def patience_of(settings: Settings) -> float:
    """Seconds that the sessions of replaced workers have: the slowest transfer may end."""
    return max(OLD_PATIENCE, settings.data_timeout_seconds + 60.0)


class Renewal:
    """The supervisor's reloads. `load` loads the settings again."""

    def __init__(self, supervisor: Supervisor, load: Callable[[], Loaded]) -> None:
        self.coming: Coming | None = None
        self._supervisor = supervisor
        self._load = load
        self.count = 0

    def begin(self) -> None:
        """SIGHUP has come."""
        notifier = self._supervisor.notifier
        notifier.reloading()
        log.info("=== Configuration Hot Reload Started ===")
        try:
            self._reload()
        except (ListenError, CertificateError, StartError) as error:
            log.error(f"Configuration Hot Reload Failed, nothing was changed: {error}")
            notifier.ready("reload failed, see the log")

    def check(self) -> None:
        """The new generation goes on if it is ready, and is given up when it takes too long."""
        coming, ours = self.coming, self._supervisor
        if coming is None:
            return
        workers = ours.crew.of(coming.generation)
        if len(workers) == coming.size and all(worker.ready for worker in workers):
            self._promote(coming)
        elif ours.clock() > coming.deadline:
            self.abandon(f"the new workers were not ready within {START_PATIENCE:.0f} s")

    def abandon(self, why: str) -> None:
        """Give the new generation up."""
        coming, ours = self.coming, self._supervisor
        if coming is None:
            return
        self.coming = None
        for someone in ours.crew.of(coming.generation):
            ours.crew.dismiss(someone, 0.0, now=True, grace=1.0)
        ours.commons.listeners.keep(wanted(ours.settings))
        log.error(f"Configuration Hot Reload Failed, the old workers go on: {why}")
        ours.notifier.ready("reload failed, see the log")

    def _reload(self) -> None:
        ours = self._supervisor
        loaded = self._load()
        for problem in loaded.errors:
            log.error(f"Configuration Error: {problem}")
        if loaded.errors:
            raise StartError(f"{len(loaded.errors)} error(s) in the configuration")
        self.abandon("another reload came")
        new = loaded.settings
        pair = load_pair(new)
        found = reload.changes(ours.settings, new)
        for change in found:
            log.info(str(change))
        if pair is not None and (ours.pair is None or pair.pem != ours.pair.pem):
            ends = time.strftime("%Y-%m-%d", time.gmtime(pair.not_after))
            log.info(f"Certificate change: {', '.join(pair.names) or 'without names'}, valid until {ends}")
        if pair is not None and ours.pair is not None and pair.clients != ours.pair.clients:
            log.info("Authorities of clients' certificates change")
        for warning in loaded.warnings:
            log.warning(f"Configuration Warning: {warning}")
        new = reload.effective(ours.settings, new, found)
        same_sockets = wanted(new) == wanted(ours.settings) and worker_count(new) == ours.size
        if same_sockets and new.enable_tls == ours.settings.enable_tls:
            self._apply(new, pair)
        else:
            self._bring_new_workers(new, pair)

    def _apply(self, settings: Settings, pair: KeyPair | None) -> None:
        """In the running workers."""
        self._adopt(settings, pair)
        what = control.Reload.of(settings, *((pair.pem, pair.clients, pair.tickets) if pair else (b"",)))
        for someone in self._supervisor.crew.workers:
            if someone.ours and not control.order(someone.orders, what, logging.SINK.file):
                log.error("A worker could not be told of the reload", worker=someone.index, pid=someone.pid)
        self._done()

    def _bring_new_workers(self, settings: Settings, pair: KeyPair | None) -> None:
        ours = self._supervisor
        size = worker_count(settings)
        ours.commons.listeners.extend(wanted(settings), listen=False)
        generation = max([ours.generation, *(worker.generation for worker in ours.crew.workers)]) + 1
        ours.crew.make_room(size, ours.generation)
        log.info(f"Starting {size} new worker(s); the running ones go on until they are ready")
        self.coming = Coming(generation, size, settings, pair, ours.clock() + START_PATIENCE)
        for index in range(size):
            ours.staff.hire(generation, index)

    def _promote(self, coming: Coming) -> None:
        """The new generation is ready: the old one may leave."""
        ours = self._supervisor
        self.coming = None
        old = ours.crew.of(ours.generation)
        ours.generation, ours.size = coming.generation, coming.size
        self._adopt(coming.settings, coming.pair)
        ours.commons.listeners.listen()
        for someone in ours.crew.of(coming.generation):
            control.order(someone.orders, control.Begin())
        for someone in old:
            ours.crew.dismiss(someone, patience_of(coming.settings), now=False, grace=OLD_GRACE)
        ours.commons.listeners.keep(wanted(coming.settings))
        ours.commons.listeners.say()
        self._done()

    def _adopt(self, settings: Settings, pair: KeyPair | None) -> None:
        """From now on these are ours, and those of workers yet to be started."""
        self._supervisor.settings, self._supervisor.pair = settings, pair
        configure_log(settings)

    def _done(self) -> None:
        self.count += 1
        self._supervisor.own.add(Field.RELOADS)
        log.info(f"=== Configuration Hot Reload Complete (#{self.count}) ===")
        self._supervisor.notifier.ready(f"{self._supervisor.size} workers")
