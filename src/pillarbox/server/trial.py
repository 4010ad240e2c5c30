"""The new program beside the running one: it shows that it can serve before it takes over.

It loads the settings, brings the database to its version, and starts a generation of workers on the sockets that it was
handed; they make themselves ready and wait. Then it gives the supervisor's ends of them to the running program and
ends: they become that process's children, which by then runs this program too (`upgrade`, `succession`). Whatever goes
wrong before costs nobody anything, and the running program is told what it was.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import socket
import time
from contextlib import suppress
from typing import NoReturn

import msgspec
import structlog

from pillarbox import __version__
from pillarbox.access.ledger import SUPERVISOR, Ledger
from pillarbox.config import Settings

from . import reload, worker
from .certificates import CertificateError
from .children import ChildFailed, in_child
from .commons import Commons
from .crew import Crew, NoSlot
from .inheritance import Handed, InheritanceError, Made, Word
from .listeners import ListenError, wanted
from .parts import Parts
from .preparation import StartError, configure_log, make_ready, worker_count
from .privileges import owner_of

log = structlog.get_logger()

MIGRATION = 3600.0  # seconds that the steps of the schema may take
AT_ONCE = 100  # descriptors in a message; the kernel takes 253
_LOOK = 0.1  # seconds between two looks at the workers


class TrialError(Exception):
    """The new program cannot serve; the text is for the operator."""


class Trial:
    def __init__(self, settings: Settings, parts: Parts, handed: Handed) -> None:
        self._settings = settings
        self._parts = parts
        self._handed = handed
        self._report = socket.socket(fileno=handed.report)
        self._report.setblocking(True)
        self._inherited = set(handed.estate.descriptors())  # these stay open, so that no new one has their number

    def run(self) -> int:
        """Returns when it failed, the exit status; a good end is the process's."""
        for ours, theirs in enumerate(self._handed.streams, 1):
            os.dup2(theirs, ours)
            os.close(theirs)
        configure_log(self._settings)
        known = (TrialError, StartError, ListenError, CertificateError, ChildFailed, InheritanceError)
        try:
            self._prepare()
            self._start_workers()
            self._wait()
            self._hand_over()
        except known as error:
            self._fail(str(error))
        except Exception as error:
            log.exception("The new program failed")
            self._fail(f"{type(error).__name__}: {error}")
        self._clean_up()
        return 1

    def _prepare(self) -> None:
        settings = self._settings
        self._step("checking the settings", 60.0)
        if too_late := reload.changed_too_late(self._handed.fixed, settings):
            raise TrialError(f"{', '.join(too_late)} changed, which takes a restart. Fix: undo that, or restart")
        self._user, self._pair = make_ready(settings)
        self._size = worker_count(settings)
        owner = owner_of(self._user)
        self._commons = Commons.inherit(self._handed.estate, owner, settings, self._size, self._parts.share)
        self._commons.listeners.extend(wanted(settings), listen=False)
        self._step("bringing the database to this version", MIGRATION)
        in_child(lambda: self._parts.prepare(settings), self._user)

    def _start_workers(self) -> None:
        self._step("starting workers", 60.0)
        commons = self._commons
        own = Ledger(0).attach(SUPERVISOR)  # the supervisor's slot is the running program's
        self._crew = Crew(commons.ledger, own, self._be_worker, time.monotonic)
        if commons.ledger.descriptor == self._handed.estate.ledger:
            self._crew.lend(set(range(1, commons.ledger.slots)) - set(self._handed.slots))
        gc.collect()
        gc.freeze()
        try:
            for index in range(self._size):
                self._crew.hire(self._handed.generation, index)
        except (NoSlot, OSError) as error:
            raise TrialError(f"a worker cannot be started: {str(error) or 'no slot is free'}") from error

    def _be_worker(self, slot: int, generation: int, index: int, orders: socket.socket) -> int:
        """In the child."""
        self._report.close()
        seat = self._commons.seat(
            slot, generation, index, self._size, self._settings, self._pair, self._user, waits=True
        )
        return worker.run(seat, self._parts.build, orders)

    def _wait(self) -> None:
        """Until all of them are ready."""
        crew = self._crew
        while not all(someone.ready for someone in crew.workers):
            readable, _, _ = select.select([self._report, *(w.orders for w in crew.workers)], [], [], _LOOK)
            if self._report in readable:  # nothing comes down but its end
                self._clean_up()
                os._exit(1)
            for someone in crew.workers:
                crew.hear(someone)
            for someone, how in crew.reap():
                raise TrialError(f"a new worker died: {someone.failure or how}")

    def _hand_over(self) -> NoReturn:
        made = Made(
            role="made",
            version=__version__,
            estate=self._commons.estate,
            generation=self._handed.generation,
            size=self._size,
            workers=[someone.employed() for someone in self._crew.workers],
            settled=pickle.dumps((self._settings, self._pair)),
        )
        fresh = sorted(set(made.descriptors()) - self._inherited)
        self._send(Word(state="ready", made=msgspec.Raw(msgspec.json.encode(made)), descriptors=fresh))
        for begin in range(0, len(fresh), AT_ONCE):
            socket.send_fds(self._report, [b"more"], fresh[begin : begin + AT_ONCE])
        os._exit(0)  # the workers stay, and have another parent now

    def _step(self, text: str, patience: float) -> None:
        self._send(Word(state="step", text=text, patience=patience))

    def _fail(self, text: str) -> None:
        with suppress(TrialError):  # nobody is there any more
            self._send(Word(state="failed", text=text))

    def _send(self, word: Word) -> None:
        try:
            self._report.send(msgspec.json.encode(word))
        except OSError as error:
            raise TrialError("the running program has ended") from error

    def _clean_up(self) -> None:
        """Nothing of us stays: no worker, and no socket file."""
        if hasattr(self, "_crew"):
            for someone in self._crew.workers:
                with suppress(ProcessLookupError):
                    os.kill(someone.pid, signal.SIGKILL)  # it has served nobody
        if hasattr(self, "_commons"):
            self._commons.listeners.keep_inherited(self._handed.estate.listeners)
