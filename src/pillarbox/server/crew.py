"""The worker processes of the server: forking them, noticing their end, giving their slots back."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from pillarbox.access.ledger import Field, Ledger, Slot
from pillarbox.access.ledger_carry import ForeignLedger

from . import control
from .children import ended
from .inheritance import Employed

log = structlog.get_logger()

SETTLED = 1.0  # seconds that a worker serves before another death of it is answered at once
_HASTE = 0.25  # seconds to wait after a death before that
_LONGEST_WAIT = 30.0  # seconds between two tries to start a worker


@dataclass(slots=True, eq=False)
class Worker:
    """One process. `deadline` is when it is killed (supervisor's clock), `asked` that it was told to leave.

    One of another program than ours (`ours` is False) may count in a ledger of its own (`counts`).
    """

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
    ours: bool = True
    counts: ForeignLedger | None = None

    @classmethod
    def adopt(cls, found: Employed, *, ours: bool, now: float, counts: ForeignLedger | None = None) -> Worker:
        """One that another process started. Raises OSError."""
        orders = socket.socket(fileno=found.orders)
        orders.setblocking(False)
        return cls(
            found.generation,
            found.index,
            found.slot,
            found.pid,
            orders,
            ready_since=now if found.ready else None,
            asked=found.asked,
            deadline=float("inf") if found.deadline is None else found.deadline,
            ours=ours,
            counts=counts,
        )

    def employed(self, ledger: int = 0) -> Employed:
        """For another process to adopt."""
        return Employed(
            pid=self.pid,
            generation=self.generation,
            index=self.index,
            slot=self.slot,
            orders=self.orders.fileno(),
            ready=self.ready,
            asked=self.asked,
            deadline=None if self.deadline == float("inf") else self.deadline,
            ledger=ledger,
        )

    @property
    def ready(self) -> bool:
        return self.ready_since is not None


class NoSlot(Exception):
    """Every slot of the ledger has a process."""


class Crew:
    """All living workers, of every generation. `main(slot, generation, index, orders)` is run in each child.

    `lent` are slots of the ledger in which another process of the server starts workers, `strangers` children that
    ended and were none: their wait status by pid.
    """

    def __init__(
        self,
        ledger: Ledger,
        own: Slot,
        main: Callable[[int, int, int, socket.socket], int],
        clock: Callable[[], float],
    ) -> None:
        self.workers: list[Worker] = []
        self.lent: set[int] = set()
        self.strangers: dict[int, int] = {}
        self._ledger = ledger
        self._own = own
        self._main = main
        self._clock = clock

    def hire(self, generation: int, index: int) -> Worker:
        """Fork a worker. Raises NoSlot, OSError."""
        slot = next(iter(self.free_slots()), 0)
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
                self.strangers[pid] = status
                continue
            self.hear(worker)
            worker.orders.close()
            self.workers.remove(worker)
            if worker.counts is None:
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

    def free_slots(self) -> list[int]:
        """Those in which workers can be started."""
        taken = self.lent | {worker.slot for worker in self.workers if worker.counts is None}
        return [n for n in range(1, self._ledger.slots) if n not in taken]

    def lend(self, slots: Iterable[int]) -> None:
        """Start no worker in these until they are taken back."""
        self.lent.update(slots)

    def take_back(self) -> None:
        """What was lent, when nobody is in there any more."""
        for slot in self.lent:
            self._ledger.clear(slot)
        self.lent.clear()

    def make_room(self, wanted: int, generation: int) -> bool:
        """Whether there are so many free slots. If not, the oldest workers that are not of `generation` must go."""
        free = len(self.free_slots())
        for someone in sorted(self.workers, key=lambda worker: worker.generation):
            if free < wanted and someone.generation != generation and someone.counts is None:
                self.dismiss(someone, 0.0, now=True, grace=1.0)
                free += 1
        return len(self.free_slots()) >= wanted

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
