"""Taking connections from a listening socket that all workers share.

Whoever is idle takes the next connection, so none waits for a busy worker. But of many that come at once the first to
wake up would take all, and long sessions would stay where they are: so one connection is taken each time the loop
comes round, and a worker that has more than its share of them leaves the next to the others for a moment. (Not when
they hardly stay: then it would only make them wait.)

While hardly anybody is there the first worker takes them: the others, as long as they have none, leave it some
milliseconds for that. Else clients that come one after the other would go round the workers, and at each of them find
caches that are stale by the commits of the others: a message would cost half as much again. As long as they go on
coming so, the others look less and less often: to be woken for each of them costs a tenth of a message.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import structlog

from pillarbox.access.ledger import Slot
from pillarbox.access.limits import Role

from .entrance import entering

log = structlog.get_logger()

SHARE = 0.001  # seconds that the others have to take a connection when this worker has its share
LATELY = 0.1  # seconds
FEW = 4  # times as many came lately as are there
AT_HOME = 0.005  # seconds that the first worker has to take one while this one has none; twice as many the next time
FAR = 0.02  # ... and at most so many
EXHAUSTED = 1.0  # seconds to the next try when there are no descriptors or no memory, or whatever else is wrong


class Courtesy:
    """How many seconds the worker of `slot` leaves a connection of this role to the other `workers`; 0: none.

    It leaves it when it has more of them than the average, rounded up, unless they come and go; also when it has none,
    as long as the first worker has not more than that. `clock` is in seconds.
    """

    def __init__(self, slot: Slot, role: Role, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._slot = slot
        self._total, self._gauge = role.value
        self._workers = workers
        self._clock = clock
        self._until = 0.0  # end of the span that runs
        self._began_with = 0  # connections before it
        self._before = 0  # that came in the span before
        self._home = AT_HOME
        self._home_until = float("-inf")

    def __call__(self) -> float:
        ledger, gauge, workers = self._slot.ledger, self._gauge, self._workers
        mine, coming = self._slot.get(gauge), entering()  # the gauge does not have them yet
        most = ledger.total(gauge) + coming + workers - 1
        if (mine + coming) * workers > most:
            return 0.0 if self._come_and_go(mine + coming) else SHARE
        if not mine and not coming:
            first = ledger.first_ready()
            if first is not None and first != self._slot.number and ledger.value(first, gauge) * workers <= most:
                return self._at_home()
        else:
            self._home_until = float("-inf")  # the first one was not there in time
        return 0.0

    def _at_home(self) -> float:
        now = self._clock()
        self._home = min(2 * self._home, FAR) if now < self._home_until + LATELY else AT_HOME
        self._home_until = now + self._home
        return self._home

    def _come_and_go(self, mine: int) -> bool:
        """Whether of those who came lately only few are still there: of such nobody gathers too many."""
        now, all_ = self._clock(), self._slot.get(self._total)
        if now >= self._until:
            self._before = all_ - self._began_with if now < self._until + LATELY else 0
            self._began_with, self._until = all_, now + LATELY
        return self._before + all_ - self._began_with > FEW * mine


class Acceptor:
    """Gives each connection of `listening` (not blocking) to `welcome`, which has to close it in the end.

    `courtesy` gives the seconds that others have to take it first. Closing does not close the socket.
    """

    def __init__(
        self,
        listening: socket.socket,
        welcome: Callable[[socket.socket], None],
        courtesy: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._listening = listening
        self._welcome = welcome
        self._courtesy = courtesy
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(listening.fileno(), self._ready)

    def close(self) -> None:
        """Take no more."""
        if self._pause is not None:
            self._pause.cancel()
        elif self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening.fileno())

    def _ready(self) -> None:
        seconds = self._courtesy()
        if seconds:
            self._wait(seconds)
        else:
            self._take()

    def _take(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client has gone
        except OSError as error:
            log.error("No connection can be taken", error=str(error), again_after=EXHAUSTED)
            self._wait(EXHAUSTED)
            return
        connection.setblocking(False)
        self._welcome(connection)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening.fileno())
        self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening.fileno(), self._ready)
        self._take()  # what nobody else has taken
