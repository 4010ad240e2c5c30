"""Taking connections from a listening socket that all workers share.

Whoever is idle takes the next connection, so none waits for a busy worker. But of many that come at once the first to
wake up would take all, and long sessions would stay where they are: so one connection is taken each time the loop
comes round, and a worker that has more than its share of them leaves the next to the others for a moment.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog

from pillarbox.access.ledger import Slot
from pillarbox.access.limits import Role

from .entrance import entering

log = structlog.get_logger()

COURTESY = 0.001  # seconds that the others have to take a connection
EXHAUSTED = 1.0  # seconds to the next try when there are no descriptors or no memory, or whatever else is wrong


def more_than_its_share(slot: Slot, role: Role, workers: int) -> Callable[[], bool]:
    """Whether the worker of `slot` has more connections of this role than the average of all `workers`, rounded up."""
    gauge = role.value[1]

    def overfull() -> bool:
        coming = entering()  # the gauge does not have them yet
        return (slot.get(gauge) + coming) * workers > slot.ledger.total(gauge) + coming + workers - 1

    return overfull


class Acceptor:
    """Gives each connection of `listening` (not blocking) to `welcome`, which has to close it in the end.

    `overfull` says whether this worker has more than its share. Closing does not close the socket.
    """

    def __init__(
        self,
        listening: socket.socket,
        welcome: Callable[[socket.socket], None],
        overfull: Callable[[], bool] = lambda: False,
    ) -> None:
        self._listening = listening
        self._welcome = welcome
        self._overfull = overfull
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._waited = False
        self._loop.add_reader(listening.fileno(), self._ready)

    def close(self) -> None:
        """Take no more."""
        if self._pause is not None:
            self._pause.cancel()
        elif self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening.fileno())

    def _ready(self) -> None:
        if not self._waited and self._overfull():
            self._wait(COURTESY)
            return
        self._waited = False
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
        self._pause, self._waited = None, True
        self._loop.add_reader(self._listening.fileno(), self._ready)
