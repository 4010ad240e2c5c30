"""The worker processes of the server: forking them, noticing their end, giving their slots back."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from pillarbox.access.ledger import Field, Ledger, Slot

from . import control
from .children import ended

log = structlog.get_logger()

SETTLED = 1.0  # seconds that a worker serves before another death of it is answered at once
_HASTE = 0.25  # seconds to wait after a death before that
_LONGEST_WAIT = 30.0  # seconds between two tries to start a worker


@dataclass(slots=True, eq=False)
class Worker:
    """One process. `deadline` is when it is killed (supervisor's clock), `asked` that it was told to leave."""

    generation: int
    index: int
    slot: int
    pid: int
    orders: socket.socket
    ready_since: float | None = None
    asked: bool = False
    deadline: float = float("inf")
    failure: str = ""
    left: int = 0  # connections it had to cut at its end

    @property
    def ready(self) -> bool:
        return self.ready_since is not None


class NoSlot(Exception):
    """Every slot of the ledger has a process."""


class Crew:
    """All living workers, of every generation. `main(slot, generation, index, orders)` is run in each child."""

    def __init__(
        self,
        ledger: Ledger,
        own: Slot,
        main: Callable[[int, int, int, socket.socket], int],
        clock: Callable[[], float],
    ) -> None:
        self.workers: list[Worker] = []
        self._ledger = ledger
        self._own = own
        self._main = main
        self._clock = clock

    def hire(self, generation: int, index: int) -> Worker:
        """Fork a worker. Raises NoSlot, OSError."""
        taken = {worker.slot for worker in self.workers}
        slot = next((n for n in range(1, self._ledger.slots) if n not in taken), 0)
        if not slot:
            raise NoSlot
        ours, theirs = control.pair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if not pid:
            status = 1
            try:
                gc.freeze()
                ours.close()
                for sibling in self.workers:
                    sibling.orders.close()
                status = self._main(slot, generation, index, theirs)
            finally:
                with suppress(OSError):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(status)  # none of the supervisor's clean-up is ours
        theirs.close()
        worker = Worker(generation, index, slot, pid, ours)
        self.workers.append(worker)
        self._own.add(Field.WORKERS_STARTED)
        return worker

    def reap(self) -> list[tuple[Worker, str]]:
        """Workers that have ended, and how. Their gauges and limits are forgotten, their counters stay."""
        gone: list[tuple[Worker, str]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            worker = next((w for w in self.workers if w.pid == pid), None)
            if worker is None:
                continue
            self.hear(worker)
            worker.orders.close()
            self.workers.remove(worker)
            self._ledger.clear(worker.slot)
            gone.append((worker, ended(status)))
        return gone

    def hear(self, worker: Worker) -> None:
        """Take what the worker reported."""
        while (report := control.receive_report(worker.orders)) is not None:
            if report.state == "ready":
                worker.ready_since = self._clock()
            elif report.state == "left":
                worker.left = report.count
            else:
                worker.failure = report.text

    def free_slots(self) -> int:
        """How many more workers there can be."""
        return self._ledger.slots - 1 - len(self.workers)

    def of(self, generation: int) -> list[Worker]:
        return [worker for worker in self.workers if worker.generation == generation]

    def dismiss(self, worker: Worker, patience: float, *, now: bool, grace: float) -> None:
        """Ask a worker to leave within `patience` seconds; `grace` seconds later it is killed."""
        worker.asked = True
        worker.deadline = min(worker.deadline, self._clock() + patience + grace)
        control.order(worker.orders, control.Drain(patience, now))

    def kill_late(self) -> None:
        """Kill those whose deadline has passed."""
        now = self._clock()
        for worker in self.workers:
            if worker.deadline <= now:
                worker.deadline = float("inf")
                log.warning("Worker did not end in time and is killed", worker=worker.index, pid=worker.pid)
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)


class Backoff:
    """How long to wait before a worker is replaced: not at all, unless it keeps dying at its start."""

    def __init__(self) -> None:
        self._early: dict[int, int] = {}

    def died(self, index: int, *, served: float | None) -> float:
        """Seconds to wait before worker `index` is started again. `served`: for how long, None if never ready."""
        if served is not None:
            self._early.pop(index, None)
            return 0.0 if served >= SETTLED else _HASTE
        count = self._early[index] = self._early.get(index, 0) + 1
        return 0.0 if count == 1 else min(_LONGEST_WAIT, 0.1 * 2.0 ** min(count, 20))

    def deaths(self, index: int) -> int:
        """Deaths at start in a row."""
        return self._early.get(index, 0)
