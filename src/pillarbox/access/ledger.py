"""The shared memory in which all processes of one server count.

The supervisor makes one `Ledger` before it forks; every process then sees the same memory, which has no name but a
descriptor, so that an upgrade can hand it to the next program. It holds one slot for the supervisor (number 0) and one
for each worker. A slot is written by its own process only, so a plain
64-bit store is enough: no lock, no atomic, and a worker killed between two instructions leaves nothing half done.
Who wants a figure for the whole server adds up the slots.

A slot holds named cells (`Field`) and two hash tables for limits (see `limits`). Counters outlive their worker: the
one that takes its place goes on from where it stopped, so a total never goes down while the server runs. Gauges and
tables describe what the dead process held, and are emptied by `clear`.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from enum import IntEnum, auto
from hashlib import blake2b
from typing import Self

from .ledger_layout import HEAD, VERSION, Layout, Misfit, check_fit, read_layout

__all__ = ["COUNTERS", "GAUGES", "SUPERVISOR", "Field", "Ledger", "Misfit", "Slot"]

_CELL = 8  # octets
CELLS = 512  # named cells of a slot, a page; those from _FIRST_GAUGE on are gauges
_FIRST_GAUGE = 256
ENTRY_CELLS = 4  # key, window, count, count of the window before
SUPERVISOR = 0  # the slot of the process that forks the others


class Field(IntEnum):
    """Names of the cells. Those of `GAUGES` go up and down, all others only up.

    New ones go at the end of their kind: then the program before and the one after an upgrade count in one memory, and
    limits hold across it. A cell that changes its number costs that (`ledger_carry`), and nothing else.
    """

    CONNECTIONS_TOTAL = 0  # of all mail protocols; HTTP is not counted
    MESSAGES_RECEIVED = auto()
    MESSAGES_REJECTED = auto()
    BYTES_RECEIVED = auto()
    AUTH_SUCCESSES = auto()
    AUTH_FAILURES = auto()
    RATE_LIMIT_HITS = auto()
    CONNECTIONS_REFUSED = auto()  # over a limit of connections
    DNSBL_BLOCKS = auto()
    GREYLIST_BLOCKS = auto()
    ERRORS = auto()  # replies 4xx and 5xx that were our fault, failures of jobs
    TLS_HANDSHAKES = auto()
    TLS_FAILURES = auto()
    SMTP_CONNECTIONS_TOTAL = auto()
    LMTP_CONNECTIONS_TOTAL = auto()
    LMTP_MESSAGES_RECEIVED = auto()
    IMAP_CONNECTIONS_TOTAL = auto()
    SUBMISSION_CONNECTIONS_TOTAL = auto()  # with STARTTLS and with TLS from the first octet
    POP3_CONNECTIONS_TOTAL = auto()
    IMAP_COMMANDS = auto()
    MESSAGES_DELIVERED = auto()  # mailbox entries made
    MESSAGES_QUEUED = auto()  # queue rows made
    COMMITS = auto()  # group commits
    COMMIT_FUNCTIONS = auto()  # store functions in them
    COMMIT_NANOSECONDS = auto()  # time the writer spent in them
    COMMIT_LE_1 = auto()  # groups of at most so many functions, one cell a group
    COMMIT_LE_4 = auto()
    COMMIT_LE_16 = auto()
    COMMIT_LE_64 = auto()
    COMMIT_MORE = auto()
    COMMIT_FAILURES = auto()
    LOOP_STALLS = auto()  # times a loop was late by more than 50 ms
    WORKERS_STARTED = auto()
    WORKERS_DIED = auto()  # ended without having been asked
    RELOADS = auto()
    QUEUE_RELAYED = auto()  # queue rows that a next hop took
    QUEUE_DEFERRED = auto()  # tries of queue rows that were put off
    QUEUE_BOUNCED = auto()  # queue rows refused for good
    QUEUE_EXPIRED = auto()  # queue rows given up for their age
    QUEUE_DEAD = auto()  # queue rows that became dead letters
    REPORTS_SENT = auto()
    OUTGOING_CONNECTIONS = auto()
    OUTGOING_FAILURES = auto()  # connections to next hops that did not come about

    CONNECTIONS_ACTIVE = _FIRST_GAUGE
    SMTP_CONNECTIONS_ACTIVE = auto()
    LMTP_CONNECTIONS_ACTIVE = auto()
    IMAP_CONNECTIONS_ACTIVE = auto()
    SUBMISSION_CONNECTIONS_ACTIVE = auto()
    POP3_CONNECTIONS_ACTIVE = auto()
    SPOOL_BYTES = auto()  # message octets held in memory
    LOOP_LAG_US = auto()  # latest lateness of the loop, microseconds
    LOOP_LAG_MAX_US = auto()  # worst of the last minute
    HEARTBEAT_MS = auto()  # monotonic milliseconds of the loop's last tick
    PID = auto()
    READY = auto()  # 1 while connections are taken
    MAINTENANCE = auto()  # set by the supervisor: 1 while new SMTP connections are sent away
    CERTIFICATE_ENDS = auto()  # set by the supervisor: epoch seconds, 0 without TLS
    OUTGOING_ACTIVE = auto()  # open connections to next hops
    OUTGOING_SLOW = auto()  # those of them that wait for a slow server
    DESTINATIONS_ACTIVE = auto()  # destinations that this worker has leased


COUNTERS: tuple[Field, ...] = tuple(f for f in Field if f < Field.CONNECTIONS_ACTIVE)
GAUGES: tuple[Field, ...] = tuple(f for f in Field if f >= Field.CONNECTIONS_ACTIVE)
_NO_GAUGES = memoryview(bytes((CELLS - _FIRST_GAUGE) * _CELL)).cast("q")


def _power_of_two(least: int) -> int:
    return 1 << max(4, (least - 1).bit_length())


class Slot:
    """One process's part of the ledger. Only that process calls `add` and `set`, on its event loop."""

    __slots__ = ("_cells", "ledger", "number")

    def __init__(self, ledger: Ledger, number: int, cells: memoryview[int]) -> None:
        self.ledger = ledger
        self.number = number
        self._cells = cells

    def add(self, field: int, n: int = 1) -> None:
        """Count `n` up (or a gauge down, when negative)."""
        self._cells[field] += n

    def set(self, field: int, value: int) -> None:
        self._cells[field] = value

    def get(self, field: int) -> int:
        return self._cells[field]


class Ledger:
    """The whole memory: `slots` worker slots beside the supervisor's, tables of at least the given sizes.

    Pages that nobody wrote cost nothing, so the sizes can be generous.
    """

    def __init__(self, slots: int, *, connection_entries: int = 8192, rate_entries: int = 65536) -> None:
        layout = Layout(
            version=VERSION,
            slots=slots + 1,
            cells_octets=CELLS * _CELL,
            entry_cells=ENTRY_CELLS,
            connection_entries=_power_of_two(connection_entries),
            rate_entries=_power_of_two(rate_entries),
            secret=os.urandom(16).hex(),  # so that nobody outside can choose addresses that collide
            fields={field.name: field.value for field in Field},
        )
        descriptor = os.memfd_create("pillarbox-ledger", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, layout.octets)
        layout.write(descriptor)
        self._open(descriptor, layout)

    @classmethod
    def adopt(cls, descriptor: int) -> Self:
        """The ledger that another program made, and counts in too. Raises Misfit, and leaves the descriptor alone."""
        layout = read_layout(descriptor)
        check_fit(
            layout,
            fields={field.name: field.value for field in Field},
            cells_octets=CELLS * _CELL,
            entry_cells=ENTRY_CELLS,
        )
        ledger = cls.__new__(cls)
        ledger._open(descriptor, layout)
        return ledger

    def _open(self, descriptor: int, layout: Layout) -> None:
        self.descriptor = descriptor
        self.slots = layout.slots
        self.connection_entries, self.rate_entries = layout.connection_entries, layout.rate_entries
        self._stride = layout.stride
        self._map = mmap.mmap(descriptor, layout.octets)
        self._cells: memoryview[int] = memoryview(self._map).cast("q")
        self._secret = bytes.fromhex(layout.secret)

    def attach(self, slot: int) -> Slot:
        """The slot for the calling process, which writes it from now on and no other does."""
        start = self._start(slot)
        self._cells[start + Field.PID] = os.getpid()
        return Slot(self, slot, self._cells[start : start + CELLS])

    def total(self, field: int) -> int:
        """The sum over all slots."""
        first, step = HEAD // _CELL + field, self._stride // _CELL
        return sum(self._cells[first::step])

    def most(self, field: int) -> int:
        """The largest value of any slot."""
        first, step = HEAD // _CELL + field, self._stride // _CELL
        return max(self._cells[first::step])

    def value(self, slot: int, field: int) -> int:
        return self._cells[self._start(slot) + field]

    def live(self) -> list[int]:
        """Numbers of the worker slots that have a process."""
        first, step = HEAD // _CELL + Field.PID, self._stride // _CELL
        return [n for n, pid in enumerate(self._cells[first::step].tolist()) if pid and n != SUPERVISOR]

    def counting(self, own: int) -> list[int]:
        """`live`, with the slot `own` in any case."""
        live = self.live()
        return live if own in live else [*live, own]

    def first_ready(self) -> int | None:
        """The number of the first worker slot that takes connections."""
        first, step = HEAD // _CELL + Field.READY, self._stride // _CELL
        ready = self._cells[first::step].tolist()
        return next((n for n, takes in enumerate(ready) if takes and n != SUPERVISOR), None)

    def clear(self, slot: int) -> None:
        """Forget what the slot's dead process held: gauges and tables; its counters stay."""
        start = self._start(slot)
        # Also those that only another version of the program knows.
        self._cells[start + _FIRST_GAUGE : start + CELLS] = _NO_GAUGES
        tables = start * _CELL + CELLS * _CELL
        length = self._stride - CELLS * _CELL
        try:
            self._map.madvise(mmap.MADV_REMOVE, tables, length)  # gives the pages back, they read as zero
        except OSError:
            self._cells[tables // _CELL : (tables + length) // _CELL] = memoryview(bytes(length)).cast("q")

    def connection_table(self, slot: int) -> memoryview[int]:
        """Cells of the slot's table of open connections by address."""
        start = self._start(slot) + CELLS
        return self._cells[start : start + self.connection_entries * ENTRY_CELLS]

    def rate_table(self, slot: int) -> memoryview[int]:
        """Cells of the slot's table of hourly rates."""
        start = self._start(slot) + CELLS + self.connection_entries * ENTRY_CELLS
        return self._cells[start : start + self.rate_entries * ENTRY_CELLS]

    def key(self, kind: bytes, subject: bytes) -> int:
        """A table key: 63 bits of a keyed hash, never 0 (which marks an unused entry)."""
        digest = blake2b(kind + b"\0" + subject, digest_size=8, key=self._secret).digest()
        return (int.from_bytes(digest, "little") >> 1) or 1

    def close(self) -> None:
        """Unmap, for tests; fails silently while a slot of it is in use."""
        with suppress(BufferError):
            self._cells.release()
            self._map.close()

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.descriptor)

    def _start(self, slot: int) -> int:
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} of {self.slots}")
        return (HEAD + slot * self._stride) // _CELL
