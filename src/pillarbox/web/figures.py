"""The server as HTTP shows it: figures of all workers, and of the machine's view of their processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from pillarbox import __version__
from pillarbox.access.ledger import SUPERVISOR, Field, Ledger
from pillarbox.config import Settings
from pillarbox.store import Store

from .checks import Checks

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Figures:
    """Where the interfaces get everything from. `settings` is asked each time, since a reload replaces them."""

    ledger: Ledger
    settings: Callable[[], Settings]
    store: Store
    checks: Checks
    started_at: float  # epoch seconds
    draining: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    version: str = __version__

    @property
    def uptime(self) -> float:
        """Seconds since the server was started."""
        return max(0.0, self.clock() - self.started_at)

    def total(self, field: Field) -> int:
        return self.ledger.total(field)

    @property
    def active(self) -> int:
        return max(0, self.ledger.total(Field.CONNECTIONS_ACTIVE))

    @property
    def usage(self) -> float:
        """Open connections as a share of those allowed."""
        return self.active / self.settings().max_connections

    def ready_workers(self) -> int:
        return sum(self.ledger.value(slot, Field.READY) for slot in self.ledger.live())

    def silence(self) -> float:
        """Seconds since the last beat of the worker that has been silent longest, of those that are ready."""
        now = self.monotonic() * 1000
        silent = [
            now - self.ledger.value(slot, Field.HEARTBEAT_MS)
            for slot in self.ledger.live()
            if self.ledger.value(slot, Field.READY)
        ]
        return max(silent, default=0.0) / 1000

    def processes(self) -> list[int]:
        """Supervisor and workers."""
        slots = [SUPERVISOR, *self.ledger.live()]
        return [pid for slot in slots if (pid := self.ledger.value(slot, Field.PID))]

    def resident(self) -> int:
        """Octets resident, of all processes; what they share is counted for each."""
        total = 0
        for pid in self.processes():
            if fields := _proc(pid, "statm"):
                total += int(fields.split()[1]) * _PAGE
        return total

    def cpu_seconds(self) -> float:
        """CPU time of all processes, those that have ended included."""
        ticks = 0
        for pid in self.processes():
            if fields := _proc(pid, "stat"):
                values = fields.rpartition(b")")[2].split()
                ticks += sum(map(int, values[11:15]))  # own and waited-for children's, proc(5)
        return ticks / _TICK


def _proc(pid: int, name: str) -> bytes:
    """A file of /proc, b"" when the process has gone."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""
